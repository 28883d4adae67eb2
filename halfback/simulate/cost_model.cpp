#include "halfback/simulate/cost_model.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace halfback {

namespace {

void check_cost(double cost, const char* what) {
  if (!std::isfinite(cost) || cost < 0.0) {
    throw ConfigError(fmt::format("cost: {} is {}; a cost is a number of at least 0", what, cost));
  }
}

void check_rate(double rate, const char* what) {
  if (!(rate > 0.0)) {
    throw ConfigError(fmt::format("cost: {} is {}; it is a number above 0", what, rate));
  }
}

void check_stage(const StageCost& cost) {
  check_cost(cost.forward, "forward");
  check_cost(cost.input, "input");
  check_cost(cost.own_input.value_or(0.0), "own_input");
  check_cost(cost.weight, "weight");
  check_cost(cost.full.value_or(0.0), "full");
  check_cost(cost.update, "update");
  check_cost(cost.activation_bytes, "activation_bytes");
  check_cost(cost.gradient_bytes, "gradient_bytes");
  check_cost(cost.reduce, "reduce");
  check_cost(cost.reduce_bytes, "reduce_bytes");
}

void check_links(const std::vector<LinkCost>& links) {
  std::vector<std::pair<int, int>> pairs;
  for (const LinkCost& link : links) {
    check_cost(link.latency.value_or(0.0), "latency of a link");
    check_rate(link.bandwidth.value_or(1.0), "bandwidth of a link");
    if (link.from == link.to) {
      throw ConfigError(fmt::format(
          "cost: a link from rank {} to itself; links join different ranks", link.from));
    }
    pairs.emplace_back(link.from, link.to);
  }
  std::sort(pairs.begin(), pairs.end());
  const auto twice = std::adjacent_find(pairs.begin(), pairs.end());
  if (twice != pairs.end()) {
    throw ConfigError(fmt::format("cost: the link from rank {} to {} is given twice; give it once",
                                  twice->first, twice->second));
  }
}

}  // namespace

double StageCost::of(ActionKind kind) const {
  switch (kind) {
    case ActionKind::Forward:
      return forward;
    case ActionKind::Backward:
      return full.value_or(input + weight);
    case ActionKind::BackwardInput:
      return input;
    case ActionKind::BackwardWeight:
      return weight;
    case ActionKind::Update:
      return update;
    default:
      return 0.0;
  }
}

double StageCost::of(const Action& action) const {
  return action.kind == ActionKind::BackwardInput && action.loss == 1 ? own_input.value_or(input)
                                                                      : of(action.kind);
}

const StageCost& CostModel::stage(int index) const {
  return stages.size() == 1 ? stages.front() : stages[static_cast<std::size_t>(index)];
}

double CostModel::reduction(int stage_index, int num_replicas) const {
  const StageCost& cost = stage(stage_index);
  if (cost.reduce_bytes == 0.0) {
    return cost.reduce;
  }
  const double moved = 2.0 * (num_replicas - 1) / num_replicas * cost.reduce_bytes;
  return cost.reduce + 2.0 * reduce_latency.value_or(latency) +
         moved / reduce_bandwidth.value_or(bandwidth);
}

void CostModel::check_values() const {
  check_cost(latency, "latency");
  check_rate(bandwidth, "bandwidth");
  check_cost(reduce_latency.value_or(0.0), "reduce_latency");
  check_rate(reduce_bandwidth.value_or(1.0), "reduce_bandwidth");
  std::for_each(stages.begin(), stages.end(), check_stage);
  check_links(links);
  for (const double speed : rank_speed) {
    check_rate(speed, "rank_speed");
    check_cost(speed, "rank_speed");
  }
}

void CostModel::check(const Schedule& schedule) const {
  const int num_ranks = schedule.num_ranks();
  if (stages.size() != 1 && stages.size() != static_cast<std::size_t>(schedule.num_stages())) {
    throw ConfigError(
        fmt::format("cost: costs of {} stages for a schedule of {}; give one for all "
                    "or one per stage",
                    stages.size(), schedule.num_stages()));
  }
  if (!rank_speed.empty() && rank_speed.size() != static_cast<std::size_t>(num_ranks)) {
    throw ConfigError(fmt::format("cost: speeds of {} ranks for a schedule of {}; give all or none",
                                  rank_speed.size(), num_ranks));
  }
  for (const LinkCost& link : links) {
    const auto [low, high] = std::minmax(link.from, link.to);
    if (low < 0 || high >= num_ranks) {
      throw ConfigError(fmt::format("cost: a link from rank {} to {}; the ranks are 0 to {}",
                                    link.from, link.to, num_ranks - 1));
    }
  }
  check_values();
}

CostModel parse_costs(std::string_view text) {
  std::vector<double> values;
  for (const std::string_view part : split(text, ',')) {
    const std::optional<double> value = parse_number(trim(part));
    if (!value || !std::isfinite(*value) || *value < 0.0) {
      throw ConfigError(
          fmt::format("cost: '{}' is not a number of at least 0; expected f,i,w or "
                      "f,i,w,b, as in 1,1,1",
                      part.substr(0, 40)));
    }
    values.push_back(*value);
  }
  if (values.size() != 3 && values.size() != 4) {
    throw ConfigError(
        fmt::format("cost: {} numbers; expected f,i,w or f,i,w,b, as in 1,1,1", values.size()));
  }
  StageCost cost{
      .forward = values[0], .input = values[1], .weight = values[2], .full = std::nullopt};
  if (values.size() == 4) {
    cost.full = values[3];
  }
  return {.stages = {cost}};
}

namespace {

void set_cost(StageCost& stage, const ActionCost& cost) {
  switch (cost.kind) {
    case ActionKind::Forward:
      stage.forward = cost.median_seconds;
      break;
    case ActionKind::BackwardInput:
      (cost.is_of_own_loss ? stage.own_input.emplace() : stage.input) = cost.median_seconds;
      break;
    case ActionKind::BackwardWeight:
      stage.weight = cost.median_seconds;
      break;
    case ActionKind::Backward:
      stage.full = cost.median_seconds;
      break;
    case ActionKind::Update:
      stage.update = cost.median_seconds;
      break;
    default:
      break;
  }
}

}  // namespace

void take_measured_costs(CostModel& costs, const Timeline& timeline, SpanClock clock) {
  for (const ActionCost& cost : median_costs(timeline, clock)) {
    set_cost(costs.stages[static_cast<std::size_t>(cost.stage)], cost);
  }
  std::map<int, double> shortest;
  for (const Span& span : timeline.spans) {
    if (span.action.kind == ActionKind::ReduceGradient) {
      const double length =
          clock == SpanClock::ThreadCpu ? span.cpu_seconds : span.end_seconds - span.start_seconds;
      const auto [entry, is_first] = shortest.emplace(span.action.stage, length);
      entry->second = std::min(entry->second, length);
    }
  }
  for (const auto& [stage, length] : shortest) {
    costs.stages[static_cast<std::size_t>(stage)].reduce = length;
  }
}

ShareTimes share_times(const CostModel& costs, int num_ranks) {
  ShareTimes times{0.0, 0.0, 0.0, costs.latency};
  const double share = costs.stages.size() == 1 ? 1.0 : 1.0 / num_ranks;
  for (const StageCost& stage : costs.stages) {
    times.forward += stage.forward * share;
    times.input += stage.input * share;
    times.weight += stage.weight * share;
  }
  const double longest = std::max({times.forward, times.input, times.weight});
  const double least = longest > 0.0 ? longest * 1e-6 : 1.0;
  times.forward = std::max(times.forward, least);
  times.input = std::max(times.input, least);
  times.weight = std::max(times.weight, least);
  return times;
}

namespace {

// An I or B that trains the head alone passes no layer.
void repeat_passes(const Losses& losses, int number, StageCost& stage) {
  const StagePasses passes = losses.passes(number);
  stage.weight *= passes.taken;
  if (losses.names_losses(number)) {
    stage.own_input = losses.is_carried(number, 0) ? stage.input : 0.0;
    return;
  }
  stage.input *= passes.carried;
  if (stage.full) {
    *stage.full *= passes.carried;
  }
}

}  // namespace

CostModel uniform_costs(const StageCost& share, const Schedule& schedule) {
  const double num_ranks = ranks_per_replica(schedule.placement);
  const double num_stages = schedule.num_stages();
  StageCost stage = share;
  for (double* cost : {&stage.forward, &stage.input, &stage.weight, &stage.update, &stage.reduce}) {
    *cost = *cost * num_ranks / num_stages;
  }
  if (stage.full) {
    stage.full = *stage.full * num_ranks / num_stages;
  }
  CostModel costs{.stages = {stage}};
  if (!schedule.losses.is_backprop()) {
    costs.stages.assign(static_cast<std::size_t>(schedule.num_stages()), stage);
    for (int i = 0; i < schedule.num_stages(); ++i) {
      repeat_passes(schedule.losses, i, costs.stages[static_cast<std::size_t>(i)]);
    }
  }
  return costs;
}

}  // namespace halfback
