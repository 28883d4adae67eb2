// A pipeline of Python's modules: halfback/engine/pipeline.h for halfback.torch.Pipeline.
#pragma once

#include "halfback/engine/pipeline.h"
#include "halfback/layers/autograd_layer.h"
#include "halfback/transport/c10d.h"
#include "halfback/transport/processes.h"
#include "python/torch/src/calls.h"

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace halfback {

// One stage. `forward(inputs, key, is_training)` takes and returns lists of tensors.
struct PartOfModel {
  std::string name;
  pybind11::object forward;
  std::vector<ForeignTensor> parameters;
  std::vector<RunningStatistic> statistics;
};

struct EngineOptions {
  double timeout_seconds = 60.0;
  int threads_per_rank = 0;
  std::uint64_t seed = 0;
};

class Engine {
 public:
  // `loss(outputs, targets, is_training)` returns the sum over the targets. Without a group all
  // ranks are in this process. Else all processes of the group make the same calls.
  Engine(const std::string& schedule,
         std::vector<PartOfModel> parts,
         pybind11::object loss,
         const EngineOptions& options,
         const std::optional<c10::intrusive_ptr<c10d::ProcessGroup>>& group);
  ~Engine();

  std::vector<int> local_stages();

  // Runs forward and backward of all micro-batches. Afterwards the gradients are those of the
  // parameters, and statistics are up to date.
  StepResult step(const std::vector<MicroBatch>& micro_batches);
  double evaluate(const std::vector<MicroBatch>& micro_batches);

  // Runs one micro-batch to count what each stage keeps. Afterwards the parameters have no
  // gradients.
  std::vector<StageBytes> measure_bytes(const MicroBatch& micro_batch);

  // Returns the schedule as it runs, with its messages, in Halfback's dialect.
  std::string schedule() const;

  // Waits for the other processes, and ends the threads. Call it once, without the GIL.
  void close();

 private:
  struct Module;  // a stage's layer here, and its tensors
  BuildStages builder(std::vector<PartOfModel> parts, pybind11::object loss);
  void join(const RunnableSchedule& schedule,
            const EngineOptions& options,
            const c10::intrusive_ptr<c10d::ProcessGroup>& group);
  bool is_in_fork() const;
  void watch();
  template <typename Work>
  void guarded(Work work);
  template <typename Work>
  void run(Work work);
  void give_gradients();
  void drop_gradients();

  std::unique_ptr<Processes> processes_;
  std::unique_ptr<Network> network_;
  std::vector<Module> modules_;
  std::mutex pipeline_mutex_;
  std::unique_ptr<Pipeline> pipeline_;
  pid_t process_ = 0;  // that made it; the threads are in no fork of it
  bool has_failed_ = false;
  std::int64_t num_steps_ = 0;
};

}  // namespace halfback
