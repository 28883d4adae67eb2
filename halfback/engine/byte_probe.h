// Counts what the stages of a rank keep for one micro-batch while they run it. It needs neither
// formulas nor the counting allocator: StorageWatch sees what operators return.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/engine/action_runner.h"
#include "halfback/layers/storage_watch.h"
#include "halfback/schedule/schedule.h"

#include <map>

namespace halfback {

// Returns the schedule to count under, with messages: F of one micro-batch, then I and W, on the
// ranks where the stages of the first replica are.
Schedule probe_schedule(const Schedule& schedule);

// What the actions of an inner runner keep and take. Used by one thread. What is still alive after
// W belongs to the module, and is not counted.
class ByteProbe final : public ActionRunner {
 public:
  explicit ByteProbe(ActionRunner& runner) : runner_(runner) {}

  // Returns the bytes of each stage whose W has run.
  std::map<int, StageBytes> found() const;

  Tensors compute(const Action& action, Tensors taken) override;
  void compute_weights(std::span<const Action> weights) override;
  std::size_t num_joined(std::span<const Action> /*weights*/) const override { return 1; }
  void begin_reduction(const Action& action) override { runner_.begin_reduction(action); }
  std::optional<Span> finish_sum(const Action& update) override {
    return runner_.finish_sum(update);
  }
  void update(const Action& action) override { runner_.update(action); }

 private:
  using Alive = StorageWatch::Alive;
  struct Kept {
    Alive after_forward;
    Alive after_input;
    StageBytes bytes;
  };

  ActionRunner& runner_;
  StorageWatch watch_;
  std::map<int, Kept> kept_;  // by stage
};

}  // namespace halfback
