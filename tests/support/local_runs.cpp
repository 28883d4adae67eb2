#include "tests/support/local_runs.h"

#include "halfback/measure/synthetic.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/families.h"

#include <algorithm>

namespace halfback::testing {

NamedModel model(const std::string& name) {
  const std::vector<NamedModel> all = small_models();
  return *std::ranges::find(all, name, &NamedModel::name);
}

std::vector<StageLayers> build(const NamedModel& model,
                               const Schedule& schedule,
                               LocalHead head,
                               at::ScalarType dtype,
                               LocalLoss loss) {
  const int num_stages = schedule.num_stages();
  std::vector<StageLayers> stages =
      build_model(model.config, equal_cut(num_blocks(model.config), num_stages),
                  {.dtype = dtype, .recompute = model.recompute});
  add_local_heads(model.config,
                  {.local_head = head,
                   .local_loss = loss,
                   .stages_with_loss = stages_with_loss(schedule.losses, num_stages)},
                  stages);
  return stages;
}

std::vector<MicroBatch> batches(const NamedModel& model,
                                int count,
                                std::int64_t step,
                                std::int64_t num_samples) {
  std::vector<MicroBatch> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(
        synthetic_batch(model.config, num_samples, static_cast<std::uint64_t>(step * count + i)));
    for (const at::Tensor& side : model.side_inputs) {
      all.back().inputs.push_back(side);
    }
  }
  return all;
}

bool same_values(const at::Tensor& found, const at::Tensor& expected) {
  return found.numel() == expected.numel() && found.equal(expected);
}

Schedule family(const std::string& name, int num_ranks, const PipelineShape& shape) {
  PipelineShape whole = shape;
  whole.num_ranks = num_ranks;
  whole.num_micro_batches = 4;
  return build_schedule(name, whole);
}

PipelineOptions local_options(OptimizerKind kind) {
  PipelineOptions options = parity_options();
  options.stage.seed = 11;
  options.stage.optimizer.kind = kind;
  options.update = {.clip_norm = 0.5, .clip_scope = ClipScope::Stage};
  return options;
}

}  // namespace halfback::testing
