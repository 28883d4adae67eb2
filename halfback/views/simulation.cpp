#include "halfback/views/simulation.h"

#include "halfback/base/error.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/simulate/held_peaks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

bool have_bytes(const CostModel& costs) {
  return std::ranges::any_of(costs.stages, [](const StageCost& cost) {
    return cost.activation_bytes > 0.0 || cost.gradient_bytes > 0.0 || cost.reduce_bytes > 0.0;
  });
}

CostFile fitted_costs(const SimulationRequest& request, const Schedule& schedule) {
  CostFile file = request.costs;
  CostModel& costs = file.costs;
  costs.latency = request.latency.value_or(costs.latency);
  costs.bandwidth = request.bandwidth.value_or(costs.bandwidth);
  if (request.costs_are_share) {
    costs.stages = uniform_costs(costs.stages.front(), schedule).stages;
  }
  if (request.memory) {
    file.memory = request.memory;
    take_bytes(costs, *file.memory);
  }
  if (request.bandwidth && !have_bytes(costs)) {
    throw ConfigError(
        "simulate: bandwidth without the bytes of messages; give them in the cost file "
        "(activation_bytes, gradient_bytes, reduce_bytes) or in the memory file");
  }
  return file;
}

// Traces and tables have no room for more.
void require_finite(double makespan) {
  constexpr double kLongest = 1e12;
  if (!(makespan <= kLongest)) {
    throw ConfigError(
        fmt::format("simulate: a step takes {:g}; expected {:g} or less; use smaller costs or more "
                    "bandwidth",
                    makespan, kLongest));
  }
}

}  // namespace

bool Simulation::reduces() const {
  return schedule.placement.num_replicas() > 1 &&
         std::ranges::any_of(costs.stages,
                             [](const StageCost& cost) { return cost.has_reduction(); });
}

Simulation simulate_all(Schedule schedule, const SimulationRequest& request) {
  CostFile file = fitted_costs(request, schedule);
  Simulation done{.schedule = std::move(schedule)};
  done.messages_added =
      !has_messages(done.schedule) && (request.channel != kBuffered || file.costs.occupies_sender);
  if (done.messages_added) {
    done.schedule = add_communication(done.schedule, request.channel);
  }
  done.costs = std::move(file.costs);
  done.options = {.channel = request.channel,
                  .validates = false,
                  .keeps_timeline = request.keeps_timeline || done.reduces()};
  if (request.repeat) {
    done.steady = steady_step(done.schedule, done.costs, *request.repeat, done.options);
    done.schedule = repeat_steps(done.schedule, *request.repeat);
  }
  done.result = simulate(done.schedule, done.costs, done.options);
  require_finite(done.result.makespan);
  done.statistics = statistics(done.result.timeline);
  done.activation_peaks = activation_peaks(done.schedule);
  done.memory = std::move(file.memory);
  if (done.memory) {
    done.prediction = predict_memory(done.schedule, *done.memory);
    done.constant = constant_memory(done.schedule, *done.memory);
  }
  return done;
}

}  // namespace halfback
