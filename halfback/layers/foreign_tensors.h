// The tensors of a function that a layer did not make, and the engine's parameters for them. The
// engine owns values and gradients, so the tensors are moved into its memory.
#pragma once

#include "halfback/layers/autograd_graph.h"
#include "halfback/layers/call.h"
#include "halfback/layers/parameter.h"

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

struct ForeignTensor {
  std::string name;
  at::Tensor tensor;
  // The full name, "module.name", of the parameter of an earlier layer that this one always equals,
  // such as tied weights. The two are different tensors.
  std::string copy_of = {};
};

// A tensor that the function updates in training, r = kept r + change, and reads only in
// evaluation. F computes the change from r = 0, and W adds it, so each micro-batch counts once and
// in order. The engine owns r; the tensor has it only in evaluation, and after show_statistics().
struct RunningStatistic {
  std::string name;
  at::Tensor tensor;
  double kept = 1.0;
};

class ForeignTensors {
 public:
  // Throws ConfigError for tensors that cannot be trained. `module` is for names and messages.
  ForeignTensors(std::string module,
                 const std::vector<ForeignTensor>& parameters,
                 const std::vector<RunningStatistic>& statistics);

  std::vector<Parameter*> parameters() const;
  const GraphLeaves& leaves() const { return *leaves_; }
  // That of what trains, or float32 if nothing does.
  at::ScalarType type() const;
  bool has_memory_of_engine() const;

  // Moves what trains into the engine's memory, if it is elsewhere. Throws ConfigError where it
  // cannot be.
  void use_memory_of_engine();
  // Converts tensors that do not have the engine's memory; their values stay.
  void convert(at::ScalarType dtype);

  // Drops gradients of a step before, or of a backward without the engine.
  void drop_gradients();
  // W: adds those of a micro-batch, undefined where there is none, to the engine's.
  void add_gradients(const Tensors& gradients);

  // Before the function runs: statistics are 0 in training, and those of the engine in evaluation.
  void begin_statistics(bool is_training);
  // After it: what they became.
  Tensors changes() const;
  // W: moves the engine's statistics by the changes of a micro-batch.
  void add_changes(const Tensors& changes);

  // Between two steps: copy the statistics that the engine owns to the function's tensors, and back
  // after somebody has changed them.
  void show_statistics();
  void take_statistics();

 private:
  // A tensor, and its parameter in the engine.
  struct Tied {
    at::Tensor tensor;
    std::unique_ptr<Parameter> parameter;
    const void* memory = nullptr;  // the engine's memory that the tensor was given
    double kept = 1.0;             // for statistics
  };

  [[noreturn]] void refuse(const std::string& found, const std::string& remedy) const;
  std::string full_name(const std::string& name) const { return module_ + "." + name; }
  void add_parameter(const ForeignTensor& foreign);
  void add_statistic(const RunningStatistic& foreign);
  void renew_leaves();

  std::string module_;
  std::vector<Tied> trained_;
  std::vector<Tied> statistics_;
  std::optional<GraphLeaves> leaves_;
};

}  // namespace halfback
