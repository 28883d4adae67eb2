#include "halfback/engine/stage_update.h"

#include <cmath>
#include <numeric>

namespace halfback {

double clip_divisor(double norm, double clip_norm) {
  return clip_norm > 0.0 && norm > clip_norm ? norm / clip_norm : 1.0;
}

double norm_of(std::span<const double> squares) {
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
}

StageUpdate::StageUpdate(const UpdateOptions& options)
    : options_(options), loss_scale_(options.loss_scale) {}

bool StageUpdate::needs_model_norm() const {
  return loss_scale_.is_dynamic() ||
         (options_.clip_norm > 0.0 && options_.clip_scope == ClipScope::Model);
}

void StageUpdate::unscale(Stage& stage) const {
  stage.store().scale_gradients(1.0 / loss_scale_.value());
}

void StageUpdate::update(Stage& stage, const Step& step, double norm) const {
  stage.optimizer().step(stage.store(),
                         {.step = loss_scale_.update_number(step.number),
                          .learning_rate = step.learning_rate,
                          .gradient_divisor = clip_divisor(norm, options_.clip_norm)});
}

}  // namespace halfback
