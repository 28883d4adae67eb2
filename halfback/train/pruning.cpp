#include "halfback/train/pruning.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/base/keyed_random.h"
#include "halfback/base/text.h"
#include "halfback/engine/kept_statistics.h"
#include "halfback/models/local_heads.h"

#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace halfback {

namespace {

// A parameter of a stage, and a score for each of its elements: at least 0, in float64.
struct Scored {
  Parameter* parameter = nullptr;
  std::uint64_t number = 0;  // in the model
  bool is_counted = false;   // in one replica, and under its original
  at::Tensor scores = {};
};

std::vector<Scored> prunable(Pipeline& pipeline) {
  std::vector<Scored> all;
  for (const LocalStage& local : pipeline.local_stages()) {
    const std::vector<Parameter*>& parameters = local.stage->store().parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i]->trains && !is_of_local_head(parameters[i]->name)) {
        all.push_back({.parameter = parameters[i],
                       .number = pipeline.parameter_numbers(local.number)[i],
                       .is_counted = local.replica == 0 && !parameters[i]->is_copy});
      }
    }
  }
  return all;
}

at::Tensor random_scores(std::int64_t count, std::uint64_t seed, std::uint64_t number) {
  at::Tensor scores = at::empty({count}, at::kDouble);
  auto* const values = scores.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = to_unit_interval(
        keyed_hash(Purpose::PruneScore, {seed, number, static_cast<std::uint64_t>(i)}));
  }
  return scores;
}

at::Tensor flat(const at::Tensor& tensor) {
  return tensor.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true).cpu().flatten();
}

// Gradients are added with their signs: SNIP differentiates the loss of all batches together.
// Running statistics stay as they are.
void add_gradients(Pipeline& pipeline, const PruneData& data, std::vector<Scored>& all) {
  const KeptStatistics kept(pipeline);
  for (std::int64_t i = 1; i <= data.num_batches; ++i) {
    pipeline.accumulate_gradients(data.batch(i));
    for (Scored& one : all) {
      const at::Tensor gradient = flat(one.parameter->gradient);
      one.scores = one.scores.defined() ? one.scores.add_(gradient) : gradient;
    }
  }
}

void score(Pipeline& pipeline,
           PruneMethod method,
           std::uint64_t seed,
           const PruneData& data,
           std::vector<Scored>& all) {
  if (method == PruneMethod::Snip) {
    add_gradients(pipeline, data, all);
  }
  for (Scored& one : all) {
    const at::Tensor values = flat(one.parameter->value);
    switch (method) {
      case PruneMethod::Snip:
        one.scores.mul_(values).abs_();
        break;
      case PruneMethod::Random:
        one.scores = random_scores(values.numel(), seed, one.number);
        break;
      case PruneMethod::Magnitude:
        one.scores = values.abs();
        break;
    }
  }
}

std::int64_t sum_over(Peers& peers, std::int64_t own) {
  std::int64_t sum = 0;
  for (const std::string& text : peers.gather("its scores", std::to_string(own))) {
    sum += parse_integer(text).value_or(0);
  }
  return sum;
}

// Adds up a count over the scores that count, in all processes.
template <typename Count>
std::int64_t total(const std::vector<Scored>& all, Peers& peers, Count count) {
  std::int64_t sum = 0;
  for (const Scored& one : all) {
    sum += one.is_counted ? count(one.scores) : 0;
  }
  return sum_over(peers, sum);
}

std::int64_t num_true(const at::Tensor& which) {
  return which.count_nonzero().item<std::int64_t>();
}

// Returns the highest number that at least `count` scores reach. Numbers from 0 on have the order
// of their bits, which are found one by one.
double reached_by(std::int64_t count, const std::vector<Scored>& all, Peers& peers) {
  std::uint64_t bits = 0;
  for (int place = 62; place >= 0; --place) {
    const std::uint64_t higher = bits | std::uint64_t{1} << place;
    const auto wanted = std::bit_cast<double>(higher);
    if (total(all, peers, [&](const at::Tensor& scores) { return num_true(scores.ge(wanted)); }) >=
        count) {
      bits = higher;
    }
  }
  return std::bit_cast<double>(bits);
}

// Returns how many scores in front of each parameter equal `cutoff`, by the parameter's number.
std::map<std::uint64_t, std::int64_t> num_equal_before(double cutoff,
                                                       const std::vector<Scored>& all,
                                                       Peers& peers) {
  nlohmann::json own = nlohmann::json::array();
  for (const Scored& one : all) {
    if (one.is_counted) {
      own.push_back({one.number, num_true(one.scores.eq(cutoff))});
    }
  }
  std::map<std::uint64_t, std::int64_t> counts;
  for (const std::string& text : peers.gather("its equal scores", own.dump())) {
    for (const nlohmann::json& entry : parse_json(text, "scores")) {
      counts[entry.at(0).get<std::uint64_t>()] = entry.at(1);
    }
  }
  std::int64_t before = 0;
  for (auto& [number, count] : counts) {
    before += std::exchange(count, before);
  }
  return counts;
}

void require_finite(const std::vector<Scored>& all, Peers& peers) {
  const std::int64_t num_bad = total(all, peers, [](const at::Tensor& scores) {
    return num_true(scores.isfinite().logical_not());
  });
  if (num_bad > 0) {
    throw Error(fmt::format(
        "--sparsity: {} scores are not finite at the initial values; use --prune magnitude or "
        "random, which take no gradients",
        num_bad));
  }
}

}  // namespace

std::string to_string(PruneMethod method) {
  switch (method) {
    case PruneMethod::Snip:
      return "snip";
    case PruneMethod::Random:
      return "random";
    case PruneMethod::Magnitude:
      break;
  }
  return "magnitude";
}

Pruned prune(Pipeline& pipeline,
             const PruneOptions& options,
             std::uint64_t seed,
             const PruneData& data,
             Peers& peers) {
  const c10::InferenceMode no_graph;
  std::vector<Scored> all = prunable(pipeline);
  score(pipeline, options.method, seed, data, all);
  require_finite(all, peers);
  Pruned pruned{.num_weights =
                    total(all, peers, [](const at::Tensor& scores) { return scores.numel(); })};
  pruned.num_kept =
      std::llround((1.0 - options.sparsity) * static_cast<double>(pruned.num_weights));
  const double cutoff = reached_by(pruned.num_kept, all, peers);
  const std::int64_t num_equal_kept =
      pruned.num_kept -
      total(all, peers, [&](const at::Tensor& scores) { return num_true(scores.gt(cutoff)); });
  const auto equal_before = num_equal_before(cutoff, all, peers);
  for (const Scored& one : all) {
    const at::Tensor is_equal = one.scores.eq(cutoff);
    const at::Tensor place = at::cumsum(is_equal, 0).add_(equal_before.at(one.number));
    const at::Tensor stays =
        one.scores.gt(cutoff).logical_or_(is_equal.logical_and(place.le(num_equal_kept)));
    const at::Tensor& mask = one.parameter->mask;
    mask.copy_(stays.view(mask.sizes()));
    if (one.is_counted && one.parameter->decays && num_true(stays) == 0) {
      pruned.emptied.push_back(one.parameter->name);
    }
  }
  for (const LocalStage& local : pipeline.local_stages()) {
    local.stage->store().take_mask();
  }
  return pruned;
}

}  // namespace halfback
