#include "halfback/train/process_run.h"

#include "halfback/base/error.h"
#include "halfback/engine/memory.h"
#include "halfback/transport/gloo_group.h"
#include "halfback/transport/refusal.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

namespace halfback {

namespace {

std::chrono::duration<double> seconds(double count) { return std::chrono::duration<double>(count); }

// Messages in transit are counted to no rank.
at::Tensor allocate(at::IntArrayRef sizes, at::ScalarType dtype) {
  const MemoryOwner on_its_way(kNoRank);
  return at::empty(sizes, dtype);
}

}  // namespace

ProcessRun::ProcessRun(const World& world, const Options& options)
    : Peers(world.index, world.count),
      options_(options),
      processes_(world,
                 {.num_ranks = options.num_ranks,
                  .timeout = seconds(options.timeout_seconds),
                  .on_wait = options.on_wait}) {
  processes_.on_position([this] { return position(); });
}

ProcessRun::~ProcessRun() { processes_.on_position({}); }

ProcessRun::Connection ProcessRun::connect() {
  std::unique_ptr<C10dNetwork> network =
      make_c10d_network({.processes = processes_,
                         .group = make_gloo_group(processes_),
                         .num_ranks = options_.num_ranks,
                         .capacity = options_.channel_capacity,
                         .timeout = seconds(options_.timeout_seconds) + kHeadStart,
                         .allocate = allocate});
  const ClockOffset clock = network->clock_offset();
  return {.network = std::move(network), .clock = clock};
}

ProcessRun::Watch::Watch(ProcessRun& run, Pipeline& pipeline) : run_(run) { run.watch(pipeline); }

ProcessRun::Watch::~Watch() { run_.watch_no_more(); }

void ProcessRun::watch_no_more() {
  {
    const std::lock_guard lock(pipeline_mutex_);
    last_position_ = pipeline_->positions();
    pipeline_ = nullptr;
  }
  processes_.on_failure({});
}

void ProcessRun::watch(Pipeline& pipeline) {
  {
    const std::lock_guard lock(pipeline_mutex_);
    pipeline_ = &pipeline;
  }
  processes_.on_position([this] { return position(); });  // which others hear of at once
  processes_.on_failure([this](const std::string& /*failure*/) {
    const std::lock_guard lock(pipeline_mutex_);
    if (pipeline_ != nullptr) {
      pipeline_->stop();
    }
  });
}

std::string ProcessRun::position() {
  const std::lock_guard lock(pipeline_mutex_);
  return pipeline_ == nullptr ? last_position_ : pipeline_->positions();
}

void ProcessRun::guard(const std::function<void()>& work) {
  const auto report = [this](const std::string& text) {
    const std::string first = processes_.fail(text);
    if (!processes_.is_own_failure()) {
      throw EndedByAnother();
    }
    const std::int64_t step = last_checkpoint_.load();
    return first + (step > 0 ? fmt::format("\n  the last checkpoint is of step {}", step)
                             : "\n  this run has no checkpoint yet");
  };
  try {
    work();
  } catch (const RefusedError&) {
    throw;
  } catch (const ConfigError& error) {
    processes_.fail(error.what());
    throw;
  } catch (const c10::Error& error) {
    throw Error(report(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    throw Error(report(error.what()));
  }
}

}  // namespace halfback
