#include "halfback/layers/similarity_loss.h"

#include "halfback/kernels/matrix_product.h"
#include "halfback/kernels/rows.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/unit_rows.h"

#include <ATen/ops/one_hot.h>
#include <ATen/ops/std_mean.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

constexpr double kWeightBesideAnother = 0.99;  // beta of the authors' code

// Slots of Saved::members.
enum { kMap, kBeside, kNumMembers };
// Slots of Saved::until_input. The map's output has memory if it has several pixels.
enum { kMapped, kRows, kNorms, kDifferences };

bool has_pixels(at::IntArrayRef mapped) { return numel(mapped) > mapped[0] * mapped[1]; }

// Returns the gradient of the map's output, given that of its pixels' deviations [N, C].
at::Tensor deviation_backward(const at::Tensor& gradient, const at::Tensor& mapped) {
  const at::Tensor pixels = mapped.flatten(2);
  const auto [deviation, mean] = at::std_mean(pixels, {2}, /*unbiased=*/true, /*keepdim=*/true);
  const at::Tensor slopes = gradient.unsqueeze(2)
                                .div(deviation.mul(static_cast<double>(pixels.size(2) - 1)))
                                .masked_fill_(deviation.eq(0.0), 0.0);
  return pixels.sub(mean).mul_(slopes);
}

// Rows without their mean and of norm 1, or 0 where `counts` [N, 1] is; and their norms [N, 1].
struct NormalizedRows {
  NormalizedRows(const at::Tensor& x, const at::Tensor& counts)
      : rows(x.sub(x.mean(1, /*keepdim=*/true))), norms(divide_by_norms(rows)) {
    rows.mul_(counts);
  }

  at::Tensor similarities() const { return multiply(rows, rows.t()).clamp_(-1.0, 1.0); }

  at::Tensor rows;
  at::Tensor norms;
};

}  // namespace

SimilarityLoss::SimilarityLoss(std::unique_ptr<Layer> map,
                               std::int64_t num_classes,
                               LossBeside beside)
    : map_(std::move(map)),
      num_classes_(num_classes),
      beside_(std::move(beside)),
      weight_(beside_.loss ? kWeightBesideAnother : 1.0) {}

std::vector<Parameter*> SimilarityLoss::parameters() {
  std::vector<Parameter*> all = map_->parameters();
  if (beside_.loss) {
    const std::vector<Parameter*> others = beside_.loss->parameters();
    all.insert(all.end(), others.begin(), others.end());
  }
  return all;
}

double SimilarityLoss::forward(const at::Tensor& input,
                               const at::Tensor& targets,
                               Saved& saved,
                               const Call& call) {
  saved.add_members(kNumMembers);
  const at::Tensor mapped = map_->forward({input}, saved.members[kMap], call).front();
  const bool has_deviations = has_pixels(mapped.sizes());
  const at::Tensor has_target = targets.ge(0).unsqueeze(1);
  const at::Tensor counts = has_target.to(input.scalar_type());
  const at::Tensor classes = at::one_hot(targets.clamp_min(0), num_classes_).to(counts);
  const NormalizedRows features(
      has_deviations ? mapped.flatten(2).std({2}, /*unbiased=*/true) : mapped.flatten(1), counts);
  const at::Tensor differences =
      features.similarities().sub_(NormalizedRows(classes, counts).similarities());
  const double num_samples = std::max(has_target.sum().item<double>(), 1.0);
  const double loss = weight_ * kernels::sum_of_squares(differences) / num_samples;
  differences.div_(num_samples);  // as I needs them
  saved.until_input = {has_deviations ? mapped : without_memory(mapped), features.rows,
                       features.norms, differences};
  return beside_.loss ? loss + (1.0 - weight_) * beside_.loss->forward(input, targets,
                                                                       saved.members[kBeside], call)
                      : loss;
}

std::int64_t SimilarityLoss::num_correct(const Saved& saved) const {
  return beside_.loss ? beside_.loss->num_correct(saved.members[kBeside]) : 0;
}

// Where the clamp acts, two rows are parallel, and their similarity has the gradient 0 anyway.
at::Tensor SimilarityLoss::backward_input(double scale, Saved& saved, const Call& call) {
  const Tensors kept = std::exchange(saved.until_input, {});
  const at::Tensor& mapped = kept[kMapped];
  const at::Tensor& rows = kept[kRows];
  // A square and a symmetric product have a factor 2 each.
  at::Tensor gradient = divide_by_norms_backward(
      multiply(kept[kDifferences], rows).mul_(4.0 * weight_ * scale), rows, kept[kNorms]);
  gradient.sub_(gradient.mean(1, /*keepdim=*/true));
  if (has_pixels(mapped.sizes())) {
    gradient = deviation_backward(gradient, mapped);
  }
  gradient =
      map_->backward_input({gradient.view(mapped.sizes())}, saved.members[kMap], call).front();
  return beside_.loss ? gradient.add(beside_.loss->backward_input(scale * (1.0 - weight_),
                                                                  saved.members[kBeside], call))
                      : gradient;
}

void SimilarityLoss::backward_weight(std::span<Saved*> saved) {
  std::vector<Saved*> members = members_of(saved, kMap);
  map_->backward_weight(members);
  if (beside_.loss) {
    members = members_of(saved, kBeside);
    beside_.loss->backward_weight(members);
  }
  for (Saved* const one : saved) {
    one->members.clear();
  }
}

SavedBytes SimilarityLoss::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const Described map = map_->describe({input_shape}, element_bytes);
  const Shape& mapped = map.shapes.front();
  const std::int64_t samples = mapped[0];
  SavedBytes bytes = map.bytes;
  bytes.until_input += (has_pixels(mapped) ? numel(mapped) : 0) * element_bytes;
  bytes.until_input += samples * (mapped[1] + 1 + samples) * element_bytes;
  if (beside_.loss) {
    bytes += beside_.loss->saved_bytes(input_shape, element_bytes);
    bytes.until_weight -= beside_.keeps_input ? numel(input_shape) * element_bytes : 0;
  }
  return bytes;
}

Flops SimilarityLoss::flops(const Shape& input_shape) const {
  const Described map = map_->describe({input_shape}, sizeof(float));
  const std::int64_t samples = map.shapes.front()[0];
  const std::int64_t features =
      has_pixels(map.shapes.front()) ? map.shapes.front()[1] : numel(map.shapes.front()) / samples;
  const std::int64_t pairs = 2 * samples * samples;
  Flops flops = map.flops;
  flops += {.forward = pairs * (features + num_classes_), .input = pairs * features};
  if (beside_.loss) {
    flops += beside_.loss->flops(input_shape);
  }
  return flops;
}

}  // namespace halfback
