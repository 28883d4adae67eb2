// The stages of one rank, which carry out the actions of a step.
#pragma once

#include "halfback/data/micro_batch.h"
#include "halfback/engine/action_runner.h"
#include "halfback/engine/replicas.h"
#include "halfback/engine/stage_update.h"
#include "halfback/schedule/schedule.h"

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

namespace halfback {

enum class GroupEnd : std::uint8_t { No, Yes, LastOfStep };

// What the ranks share during a step.
struct StepContext {
  const Schedule* schedule = nullptr;
  std::span<const MicroBatch> micro_batches;
  double loss_scale = 1.0;  // the update's scale / number of targets of the step
  // By micro-batch, whether its weight gradient ends a gradient group of its replica of a stage.
  // Empty if a replica has only one group.
  std::span<const GroupEnd> group_ends = {};
  bool is_training = true;        // false: forward only, nothing is kept
  bool updates = false;           // false: gradients add up and values do not change
  bool refreshes_copies = false;  // of the output matrix, before anything else
  bool updates_in_lists = false;  // false: after them, when all gradients are finished
  StageUpdate::Step update = {};
  double origin_seconds = 0.0;

  // Whether ranks may be in several steps at once, so that errors say in which.
  bool has_no_barrier() const { return updates && updates_in_lists; }
};

class RankStages final : public ActionRunner {
 public:
  // All must outlive it.
  RankStages(int rank, RankStageMap& stages, Replicas& replicas, const StageUpdate& update);

  // Begins a run of the schedule; the context must outlive it.
  void begin(const StepContext& context);

  Tensors compute(const Action& action, Tensors taken) override;
  void compute_weights(std::span<const Action> weights) override;
  std::size_t num_joined(std::span<const Action> weights) const override;
  void begin_reduction(const Action& action) override { replicas_.begin_reduction(action); }
  std::optional<Span> finish_sum(const Action& update) override;
  void update(const Action& action) override;

  // Sets what an update after the lists needs, if it needs anything.
  void set_model_norm(double norm) { model_norm_ = norm; }

  // Ends the list. Throws ScheduleError if it has left something undone.
  void end_list();

  // After a list without updates, finishes the gradients of all stages, together with other ranks.
  // Returns the spans of sums over replicas.
  std::vector<Span> finish_gradients();

  // Squared norms of the finished gradients of each parameter, stage by stage, before clipping.
  const std::map<int, std::vector<double>>& squared_norms() const { return squared_norms_; }

  // By stage of this rank with a loss, the summed loss of each micro-batch. After an evaluation,
  // the number of correct answers of each micro-batch follows.
  const std::map<int, std::vector<double>>& losses() const { return losses_; }

 private:
  // Throws ScheduleError if the U of a stage cannot come now.
  void require_updatable(int stage);
  GroupEnd group_end(const Action& action) const;
  void end_weight(const Action& action);
  void finish_gradient(int stage);
  Tensors forward(const Action& action, Tensors inputs);
  // Returns the micro-batches that pass through a stage of this rank, ascending.
  std::vector<int> own_micro_batches(int stage) const;

  int rank_;
  RankStageMap& stages_;
  Replicas& replicas_;
  const StageUpdate& update_;
  const StepContext* context_ = nullptr;
  std::map<int, std::vector<double>> losses_;
  std::map<int, std::vector<double>> squared_norms_;
  std::set<int> updated_;  // stages, by U of the list
  double model_norm_ = 0.0;
};

}  // namespace halfback
