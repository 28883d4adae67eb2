#include "python/torch/src/engine.h"

#include "halfback/base/error.h"
#include "halfback/layers/autograd_loss.h"
#include "halfback/layers/known_autograd.h"
#include "halfback/schedule/csv.h"
#include "halfback/transport/process_group.h"
#include "halfback/transport/world.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <chrono>
#include <future>
#include <thread>
#include <unistd.h>

namespace halfback {

namespace py = pybind11;

namespace {

constexpr std::chrono::milliseconds kBetweenSignals{50};

PipelineOptions options_of(const EngineOptions& options, at::ScalarType dtype) {
  PipelineOptions made;
  made.stage.dtype = dtype;
  made.stage.seed = options.seed;
  made.stage.optimizer = {
      .kind = OptimizerKind::Sgd, .weight_decay = 0.0, .momentum = 0.0};  // has no state
  made.threads_per_rank = options.threads_per_rank;
  made.timeout_seconds = options.timeout_seconds;
  made.owns_process = false;
  return made;
}

at::ScalarType dtype_of(const std::vector<PartOfModel>& parts) {
  const ForeignTensor* first = nullptr;
  for (const PartOfModel& part : parts) {
    for (const ForeignTensor& one : part.parameters) {
      first = first == nullptr ? &one : first;
      if (one.tensor.scalar_type() != first->tensor.scalar_type()) {
        throw ConfigError(fmt::format(
            "{}.{} has type {}, and parameters before it {}; the parameters of a pipeline have one "
            "type, so convert the model, or freeze those of the other type",
            part.name, one.name, at::toString(one.tensor.scalar_type()),
            at::toString(first->tensor.scalar_type())));
      }
    }
  }
  return first == nullptr ? at::kFloat : first->tensor.scalar_type();
}

void require_one_backprop(const Schedule& plan) {
  const int replicas = plan.placement.num_replicas();
  if (replicas > 1) {
    throw ConfigError(fmt::format(
        "plan: it has {} replicas of the weights, and a model of Python is there once; use a plan "
        "of a family with one",
        replicas));
  }
  if (!plan.losses.is_backprop()) {
    throw ConfigError(
        "plan: its losses train parts of the model, and a pipeline of Python has one loss that "
        "trains it all; use a plan of a family with backprop");
  }
}

ForeignModule module_of(PartOfModel&& part) {
  ForeignModule module{.name = std::move(part.name),
                       .parameters = std::move(part.parameters),
                       .statistics = std::move(part.statistics),
                       .keys_draws = true};
  module.forward = [forward = Callable(std::move(part.forward))](const Tensors& inputs,
                                                                 const Call& call) {
    return forward.with([&](const py::object& python) {
      return python(inputs, call.key, call.is_training).cast<Tensors>();
    });
  };
  return module;
}

std::unique_ptr<LossLayer> loss_of(py::object function) {
  ForeignLoss loss{.name = "the loss"};
  loss.forward = [call = Callable(std::move(function))](
                     const at::Tensor& outputs, const at::Tensor& targets, const Call& about) {
    return call.with([&](const py::object& python) {
      return python(outputs, targets, about.is_training).cast<at::Tensor>();
    });
  };
  return std::make_unique<AutogradLoss>(std::move(loss));
}

}  // namespace

struct Engine::Module {
  int stage = 0;
  AutogradLayer* layer = nullptr;
  Tensors parameters;
};

BuildStages Engine::builder(std::vector<PartOfModel> parts, py::object loss) {
  auto stages = std::make_shared<std::vector<StageLayers>>();
  for (PartOfModel& part : parts) {
    using Input = AutogradLayer::Options::Input;
    using Gradients = AutogradLayer::Options::Gradients;
    const Input input = stages->empty() ? Input::Data : Input::Activations;
    Module& module = modules_.emplace_back();
    module.stage = static_cast<int>(stages->size());
    for (const ForeignTensor& one : part.parameters) {
      module.parameters.push_back(one.tensor);
    }
    auto layer = std::make_unique<AutogradLayer>(
        module_of(std::move(part)),
        AutogradLayer::Options{.input = input, .gradients = Gradients::Floating});
    module.layer = layer.get();
    stages->emplace_back().add(std::move(layer));
  }
  stages->back().loss = loss_of(std::move(loss));
  return [stages] { return std::move(*stages); };
}

Engine::Engine(const std::string& schedule,
               std::vector<PartOfModel> parts,
               py::object loss,
               const EngineOptions& options,
               const std::optional<c10::intrusive_ptr<c10d::ProcessGroup>>& group) {
  process_ = getpid();
  const at::ScalarType dtype = dtype_of(parts);
  {
    const py::gil_scoped_release release;  // which autograd insists on
    require_known_autograd();
  }
  // Objects of Python move only, so nothing here needs the GIL until a part runs.
  const BuildStages build = builder(std::move(parts), std::move(loss));
  const py::gil_scoped_release release;
  const RunnableSchedule runnable = make_runnable(parse_schedule(schedule, "schedule"));
  require_one_backprop(*runnable);
  if (group) {
    join(runnable, options, *group);
  }
  guarded([&] {
    pipeline_ = std::make_unique<Pipeline>(build, runnable, options_of(options, dtype),
                                           std::move(network_));
    pipeline_->initialize(options.seed);
    std::erase_if(modules_, [&](const Module& one) {
      return std::ranges::none_of(pipeline_->local_stages(), [&](const LocalStage& local) {
        return local.number == one.stage;
      });
    });
    for (const Module& module : modules_) {
      module.layer->use_memory_of_engine();
    }
  });
  watch();
}

Engine::~Engine() {
  if (pipeline_) {
    has_failed_ = true;  // the end of the others is not waited for
    const py::gil_scoped_release release;
    close();
  }
}

void Engine::join(const RunnableSchedule& schedule,
                  const EngineOptions& options,
                  const c10::intrusive_ptr<c10d::ProcessGroup>& group) {
  using Seconds = std::chrono::duration<double>;
  World world = detect_world();
  world.is_store_served = true;  // by torch.distributed, or by its launcher
  processes_ = std::make_unique<Processes>(
      world, ProcessesOptions{.num_ranks = schedule->num_ranks(),
                              .timeout = Seconds(options.timeout_seconds),
                              .backstop = Seconds(0)});
  network_ = make_c10d_network({.processes = *processes_,
                                .group = transfers_over(group),
                                .num_ranks = schedule->num_ranks(),
                                .capacity = schedule.channel_capacity(),
                                .timeout = Seconds(options.timeout_seconds) + kHeadStart,
                                .allocate = {}});
}

void Engine::watch() {
  if (!processes_) {
    return;
  }
  processes_->on_position([this] {
    const std::lock_guard lock(pipeline_mutex_);
    return pipeline_ ? pipeline_->positions() : "it has ended";
  });
  processes_->on_failure([this](const std::string& /*failure*/) {
    const std::lock_guard lock(pipeline_mutex_);
    if (pipeline_) {
      pipeline_->stop();
    }
  });
}

// What one process throws, all throw: the first with everything that is known about the others.
// What a user can mend is the same in all of them, and stays as it is.
template <typename Work>
void Engine::guarded(Work work) {
  try {
    work();
  } catch (const std::exception& error) {
    has_failed_ = true;
    if (!processes_) {
      throw;
    }
    if (dynamic_cast<const ConfigError*>(&error) != nullptr) {
      processes_->fail(error.what());
      throw;
    }
    const std::string first = processes_->fail(error.what());
    std::throw_with_nested(
        Error(processes_->is_own_failure() ? first : "another process has failed: " + first));
  }
}

// Whoever has changed statistics since the last run is heard. Ranks with threads of their own leave
// this one to Python's signals.
template <typename Work>
void Engine::run(Work work) {
  const py::gil_scoped_release release;
  if (is_in_fork()) {
    throw Error("the pipeline belongs to the process that this one is a fork of; make a new one");
  }
  if (has_failed_) {
    throw Error("the pipeline has failed before; make a new one");
  }
  if (!pipeline_) {
    throw Error("the pipeline is closed; make a new one");
  }
  for (const Module& module : modules_) {
    module.layer->take_statistics();
  }
  guarded([&] {
    if (pipeline_->local_ranks().size() == 1) {
      return work();
    }
    std::future<void> done = std::async(std::launch::async, work);
    while (done.wait_for(kBetweenSignals) == std::future_status::timeout) {
      const py::gil_scoped_acquire acquire;
      if (PyErr_CheckSignals() != 0) {
        py::error_already_set raised;
        const py::gil_scoped_release wait_without;
        pipeline_->stop();
        try {
          done.get();
        } catch (const std::exception&) {  // stopped, as asked
        }
        const py::gil_scoped_acquire again;
        throw PythonError(raised);
      }
    }
    done.get();
  });
}

std::vector<int> Engine::local_stages() {
  std::vector<int> all;
  for (const Module& module : modules_) {
    all.push_back(module.stage);
  }
  return all;
}

void Engine::drop_gradients() {
  for (const Module& module : modules_) {
    for (const at::Tensor& one : module.parameters) {
      one.mutable_grad().reset();
    }
    module.layer->show_statistics();
  }
}

void Engine::give_gradients() {
  const c10::InferenceMode normal(false);
  for (const Module& module : modules_) {
    const std::vector<Parameter*> known = module.layer->parameters();
    for (std::size_t i = 0; i < module.parameters.size(); ++i) {
      module.parameters[i].mutable_grad() =
          known[i]->has_gradient ? savable(known[i]->gradient) : at::Tensor();
    }
    module.layer->show_statistics();
  }
}

StepResult Engine::step(const std::vector<MicroBatch>& micro_batches) {
  StepResult result;
  run([&] { result = pipeline_->accumulate_gradients(micro_batches, ++num_steps_); });
  give_gradients();
  return result;
}

double Engine::evaluate(const std::vector<MicroBatch>& micro_batches) {
  double loss = 0.0;
  run([&] { loss = pipeline_->evaluate(micro_batches).loss; });
  return loss;
}

std::vector<StageBytes> Engine::measure_bytes(const MicroBatch& micro_batch) {
  std::vector<StageBytes> bytes;
  run([&] { bytes = pipeline_->measure_bytes(micro_batch); });
  drop_gradients();
  return bytes;
}

std::string Engine::schedule() const { return to_csv(pipeline_->schedule(), CsvDialect::Halfback); }

bool Engine::is_in_fork() const { return getpid() != process_; }

void Engine::close() {
  if (is_in_fork()) {  // what ends threads would wait for them
    static_cast<void>(pipeline_.release());
    static_cast<void>(network_.release());
    static_cast<void>(processes_.release());
    return;
  }
  if (processes_ && !has_failed_) {
    processes_->leave();
  }
  if (processes_) {
    processes_->on_failure({});
    processes_->on_position({});
  }
  std::unique_ptr<Pipeline> ended;
  {
    const std::lock_guard lock(pipeline_mutex_);
    ended = std::move(pipeline_);
  }
  ended.reset();
  processes_.reset();
}

}  // namespace halfback
