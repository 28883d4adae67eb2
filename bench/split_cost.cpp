// halfback_split_cost: what the split backward costs. For each layer, on one thread, it times our
// F, I and W, and forward and backward of the same mathematics by libtorch's autograd, in
// alternating rounds. (I + W) / B is the median of the rounds' ratios. Gradients are compared
// first. They add to existing ones, as for all micro-batches of a step but the first.
#include "bench/split_subjects.h"

#include "halfback/base/error.h"
#include "halfback/engine/clock.h"
#include "halfback/engine/runtime.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <CLI/CLI.hpp>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace halfback;
using bench::Seconds;
using bench::Sizes;
using bench::Subject;

constexpr double kTolerance = 1e-3;  // float32, summed in another order

at::Tensor run_ours(Subject& subject, Seconds& seconds) {
  const c10::InferenceMode no_graph;
  Saved saved;
  const double start = now_seconds();
  subject.forward(saved);
  const double after_forward = now_seconds();
  at::Tensor gradient = subject.input(saved);
  const double after_input = now_seconds();
  subject.weight(saved);
  seconds.forward = after_forward - start;
  seconds.input = after_input - after_forward;
  seconds.weight = now_seconds() - after_input;
  return gradient;
}

at::Tensor run_autograd(Subject& subject, Seconds& seconds) {
  const at::Tensor x = subject.x.detach();
  x.set_requires_grad(x.is_floating_point());
  const double start = now_seconds();
  const at::Tensor output = subject.reference(subject.leaves, x);
  const double after_forward = now_seconds();
  output.backward(subject.gradient);
  seconds.autograd_forward = after_forward - start;
  seconds.backward = now_seconds() - after_forward;
  return x.grad();
}

void check_equal(const std::string& what, const at::Tensor& found, const at::Tensor& expected) {
  const double difference = (found - expected).abs().max().item().toDouble();
  const double largest = expected.abs().max().item().toDouble();
  if (!(difference <= kTolerance * largest)) {
    throw Error(
        fmt::format("{}: the gradients differ by {:g}, the largest is {:g}; expected at "
                    "most {:g} of it; the two do not compute the same",
                    what, difference, largest, kTolerance));
  }
}

// Checks the results before anything is timed.
void check(Subject& subject) {
  Seconds unused;
  const at::Tensor found = run_ours(subject, unused);
  const at::Tensor expected = run_autograd(subject, unused);
  if (expected.defined()) {
    check_equal(subject.name, found, expected);
  }
  for (std::size_t i = 0; i < subject.parameters.size(); ++i) {
    const Parameter& parameter = *subject.parameters[i];
    check_equal(subject.name + " " + parameter.name, parameter.gradient, subject.leaves[i].grad());
  }
}

// Runs one alternating round; which side begins alternates too.
void run_round(Subject& subject, bool ours_first, bool counts) {
  Seconds seconds;
  if (ours_first) {
    run_ours(subject, seconds);
  }
  run_autograd(subject, seconds);
  if (!ours_first) {
    run_ours(subject, seconds);
  }
  if (counts) {
    subject.rounds.push_back(seconds);
  }
}

double quantile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const double place = fraction * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

template <typename Value>
std::vector<double> each(const std::vector<Seconds>& rounds, Value value) {
  std::vector<double> values;
  std::transform(rounds.begin(), rounds.end(), std::back_inserter(values), value);
  return values;
}

nlohmann::json row(const Sizes& sizes, const Subject& subject) {
  const auto milliseconds = [&](auto member) {
    return 1e3 *
           quantile(each(subject.rounds, [&](const Seconds& one) { return one.*member; }), 0.5);
  };
  const std::vector<double> ratios = each(
      subject.rounds, [](const Seconds& one) { return (one.input + one.weight) / one.backward; });
  return {{"size", sizes.name},
          {"layer", subject.name},
          {"forward_ms", milliseconds(&Seconds::forward)},
          {"input_ms", milliseconds(&Seconds::input)},
          {"weight_ms", milliseconds(&Seconds::weight)},
          {"autograd_forward_ms", milliseconds(&Seconds::autograd_forward)},
          {"autograd_backward_ms", milliseconds(&Seconds::backward)},
          {"ratio", {quantile(ratios, 0.25), quantile(ratios, 0.5), quantile(ratios, 0.75)}}};
}

// Adds up the layers of each model, round by round.
std::vector<Subject> whole_models(const std::vector<Subject>& subjects) {
  std::map<std::string, Subject> models;
  for (const Subject& subject : subjects) {
    for (const auto& [name, count] : subject.count_in_models) {
      Subject& model = models[name];
      model.name = name;
      model.rounds.resize(subject.rounds.size());
      for (std::size_t i = 0; i < model.rounds.size(); ++i) {
        for (const auto member : {&Seconds::forward, &Seconds::input, &Seconds::weight,
                                  &Seconds::autograd_forward, &Seconds::backward}) {
          model.rounds[i].*member += static_cast<double>(count) * (subject.rounds[i].*member);
        }
      }
    }
  }
  std::vector<Subject> all;
  for (auto& [name, model] : models) {
    all.push_back(std::move(model));
  }
  return all;
}

struct Options {
  int num_rounds = 40;
  int num_warmup_rounds = 5;
  bool as_json = false;
};

nlohmann::json measure(const Sizes& sizes, const Options& options) {
  std::vector<Subject> subjects = bench::make_subjects(sizes);
  std::for_each(subjects.begin(), subjects.end(), check);
  for (int round = 0; round < options.num_warmup_rounds + options.num_rounds; ++round) {
    for (Subject& subject : subjects) {
      run_round(subject, round % 2 == 0, round >= options.num_warmup_rounds);
    }
  }
  nlohmann::json rows = nlohmann::json::array();
  for (const Subject& subject : subjects) {
    rows.push_back(row(sizes, subject));
  }
  for (const Subject& model : whole_models(subjects)) {
    rows.push_back(row(sizes, model));
    rows.back()["is_model"] = true;
  }
  return rows;
}

void print_table(const nlohmann::json& rows) {
  std::cout << fmt::format("{:<7} {:<24} {:>8} {:>8} {:>8} {:>8} {:>8} {:>24}\n", "size", "layer",
                           "F ms", "I ms", "W ms", "their F", "their B", "(I+W)/B (quartiles)");
  for (const nlohmann::json& one : rows) {
    const auto ratio = one["ratio"].get<std::array<double, 3>>();
    std::cout << fmt::format(
        "{:<7} {:<24} {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} ({:.3f} - {:.3f})\n",
        one["size"].get<std::string>(), one["layer"].get<std::string>(),
        one["forward_ms"].get<double>(), one["input_ms"].get<double>(),
        one["weight_ms"].get<double>(), one["autograd_forward_ms"].get<double>(),
        one["autograd_backward_ms"].get<double>(), ratio[1], ratio[0], ratio[2]);
  }
}

void run(const Options& options) {
  at::set_num_threads(1);
  const std::array<Sizes, 2> all = {Sizes{"small", 4, 128, 256, 8, 688, 256, 14},
                                    Sizes{"medium", 2, 256, 512, 8, 1376, 256, 14}};
  nlohmann::json rows = nlohmann::json::array();
  for (const Sizes& sizes : all) {
    const nlohmann::json more = measure(sizes, options);
    rows.insert(rows.end(), more.begin(), more.end());
  }
  if (!options.as_json) {
    print_table(rows);
    return;
  }
  const nlohmann::json document = {{"rounds", options.num_rounds},
                                   {"warmup_rounds", options.num_warmup_rounds},
                                   {"torch", TORCH_VERSION},
                                   {"compiler", __VERSION__},
                                   {"rows", rows}};
  std::cout << document.dump(1) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  initialize_runtime();
  CLI::App app("Times I + W of each layer against autograd's backward.", "halfback_split_cost");
  Options options;
  app.option_defaults()->always_capture_default();
  app.add_option("--rounds", options.num_rounds, "Measured rounds")->check(CLI::PositiveNumber);
  app.add_option("--warmup-rounds", options.num_warmup_rounds, "Rounds before those")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--json", options.as_json, "Print JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
