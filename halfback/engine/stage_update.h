// From the finished gradients of a stage to its new values: loss scale, norm, clipping, optimizer.
#pragma once

#include "halfback/engine/loss_scale.h"
#include "halfback/engine/stage.h"

#include <cstdint>
#include <span>

namespace halfback {

// Which gradient norm is clipped: the whole model's, which is known when all ranks are done, or
// each stage's own, which is known where the stage is.
enum class ClipScope { Model, Stage };

struct UpdateOptions {
  LossScaleOptions loss_scale;
  double clip_norm = 0.0;  // largest gradient norm; 0 does not clip
  ClipScope clip_scope = ClipScope::Model;
};

// Returns the divisor of gradients with this norm.
double clip_divisor(double norm, double clip_norm);

// Adds in order, as everywhere, so the bits do not depend on the placement.
double norm_of(std::span<const double> squares);

// One for all ranks of a process. Their threads may call const functions at once.
class StageUpdate {
 public:
  explicit StageUpdate(const UpdateOptions& options);

  LossScale& loss_scale() { return loss_scale_; }
  const LossScale& loss_scale() const { return loss_scale_; }

  ClipScope clip_scope() const { return options_.clip_scope; }

  // Whether no stage can be updated before the gradient norm of the whole model is known.
  bool needs_model_norm() const;

  // Takes the loss scale out of finished gradients.
  void unscale(Stage& stage) const;

  struct Step {
    std::int64_t number = 1;  // of this step, from 1
    double learning_rate = 0.0;
  };
  // `norm` is that of the gradients of the model or of the stage, depending on the scope.
  void update(Stage& stage, const Step& step, double norm) const;

 private:
  UpdateOptions options_;
  LossScale loss_scale_;
};

}  // namespace halfback
