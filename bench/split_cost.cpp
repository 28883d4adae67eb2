// halfback_split_cost: what the backward in two halves costs. For each layer, on one thread: F, I
// and W of ours, forward and backward of the same mathematics by libtorch's autograd, in
// alternating rounds; (I + W) / B is the median of the rounds' ratios. Gradients are compared
// first, and add to what is there, as those of all micro-batches of a step but the first.
#include "bench/autograd_layers.h"

#include "halfback/base/error.h"
#include "halfback/engine/executor.h"
#include "halfback/engine/runtime.h"
#include "halfback/layers/attention.h"
#include "halfback/layers/autograd_layer.h"
#include "halfback/layers/embedding.h"
#include "halfback/layers/feed_forward.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/layers/linear.h"
#include "halfback/layers/mamba_block.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
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

constexpr std::int64_t kNumBlocks = 8;
constexpr double kTolerance = 1e-3;  // float32, sums in another order

struct Sizes {
  std::string name;
  std::int64_t samples = 0;
  std::int64_t sequence = 0;
  std::int64_t width = 0;
  std::int64_t heads = 0;
  std::int64_t hidden = 0;
  std::int64_t vocabulary = 0;
};

// Seconds of one round; `backward` is autograd's.
struct Seconds {
  double forward = 0.0;
  double input = 0.0;
  double weight = 0.0;
  double autograd_forward = 0.0;
  double backward = 0.0;
};

// A layer of either kind with its counterpart.
struct Subject {
  std::string name;
  std::int64_t count_in_model = 0;
  std::shared_ptr<void> owner = {};
  std::vector<Parameter*> parameters = {};
  std::function<void(Saved&)> forward = {};
  std::function<at::Tensor(Saved&)> input = {};
  std::function<void(Saved&)> weight = {};
  std::function<at::Tensor(const bench::Values&, const at::Tensor&)> reference = {};
  at::Tensor x = {};
  at::Tensor gradient = {};   // of the output
  bench::Values leaves = {};  // the parameters, for autograd
  std::vector<Seconds> rounds = {};
};

void give_memory(Subject& subject) {
  for (Parameter* parameter : subject.parameters) {
    const bool is_matrix = parameter->shape.size() > 1;
    parameter->value = is_matrix ? at::randn(parameter->shape) * 0.02 : at::ones(parameter->shape);
    parameter->gradient = at::zeros(parameter->shape);
    parameter->has_gradient = true;
    subject.leaves.push_back(parameter->value.clone().set_requires_grad(true));
  }
}

template <typename Made>
Subject layer_subject(const std::string& name, std::shared_ptr<Made> layer, const at::Tensor& x) {
  Subject subject{.name = name, .owner = layer, .parameters = layer->parameters(), .x = x};
  const auto shape = layer->output_shape(x.sizes());
  subject.gradient = at::randn(shape);
  subject.forward = [layer, x](Saved& saved) { layer->forward(x, saved); };
  subject.input = [layer, gradient = subject.gradient](Saved& saved) {
    return layer->backward_input(gradient, saved);
  };
  subject.weight = [layer](Saved& saved) { layer->backward_weight(saved); };
  return subject;
}

Subject head_subject(const Sizes& sizes, const at::Tensor& x) {
  const auto head = std::make_shared<LanguageModelHead>(
      LanguageModelHead::Options{.num_channels = sizes.width, .vocabulary = sizes.vocabulary});
  const at::Tensor targets =
      at::randint(sizes.vocabulary, {sizes.samples, sizes.sequence}, at::kLong);
  const double scale = 1.0 / static_cast<double>(targets.numel());
  Subject subject{.name = "LanguageModelHead",
                  .count_in_model = 1,
                  .owner = head,
                  .parameters = head->parameters(),
                  .x = x};
  subject.gradient = at::ones({}) * scale;
  subject.forward = [head, x, targets](Saved& saved) { head->forward(x, targets, saved); };
  subject.input = [head, scale](Saved& saved) { return head->backward_input(scale, saved); };
  subject.weight = [head](Saved& saved) { head->backward_weight(saved); };
  subject.reference = [targets](const bench::Values& values, const at::Tensor& input) {
    return bench::autograd_head(values, input, targets);
  };
  return subject;
}

Subject attention_subject(const Sizes& sizes, const at::Tensor& x) {
  const RotaryAngles angles =
      rotary_angles({.length = sizes.sequence, .head_size = sizes.width / sizes.heads}, at::kFloat);
  Subject subject = layer_subject(
      "Attention",
      std::make_shared<Attention>("layer", Attention::Options{.num_channels = sizes.width,
                                                              .num_heads = sizes.heads,
                                                              .num_key_value_heads = sizes.heads,
                                                              .angles = angles}),
      x);
  subject.count_in_model = kNumBlocks;
  const bench::Rotation rotation{at::cat({angles.cosine, angles.cosine}, 1),
                                 at::cat({angles.sine, angles.sine}, 1)};
  subject.reference = [rotation](const bench::Values& values, const at::Tensor& input) {
    return bench::autograd_attention(values, input, rotation);
  };
  return subject;
}

Subject module_subject(const Sizes& sizes, const at::Tensor& x) {
  const std::int64_t width = sizes.width;
  ForeignModule module{.name = "block", .forward = {}};
  bench::Values values;
  for (const auto& shape : std::vector<std::vector<std::int64_t>>{{width},
                                                                  {width},
                                                                  {3 * width, width},
                                                                  {3 * width},
                                                                  {width, width},
                                                                  {width},
                                                                  {width},
                                                                  {width},
                                                                  {4 * width, width},
                                                                  {4 * width},
                                                                  {width, 4 * width},
                                                                  {width}}) {
    values.push_back(at::zeros(shape).set_requires_grad(true));
    module.parameters.push_back({std::to_string(values.size()), values.back()});
  }
  module.forward = [values, heads = sizes.heads](const Tensors& inputs, const CallContext&) {
    return Tensors{bench::autograd_block(values, inputs.front(), heads)};
  };
  Subject subject =
      layer_subject("AutogradLayer", std::make_shared<AutogradLayer>(std::move(module)), x);
  subject.reference = [heads = sizes.heads](const bench::Values& leaves, const at::Tensor& input) {
    return bench::autograd_block(leaves, input, heads);
  };
  return subject;
}

std::vector<Subject> make_subjects(const Sizes& sizes) {
  const at::Tensor x = at::randn({sizes.samples, sizes.sequence, sizes.width});
  const at::Tensor ids = at::randint(sizes.vocabulary, {sizes.samples, sizes.sequence}, at::kLong);
  std::vector<Subject> all;
  all.push_back(attention_subject(sizes, x));
  all.push_back(layer_subject(
      "FeedForward",
      std::make_shared<FeedForward>(
          "layer", FeedForward::Options{.num_channels = sizes.width, .hidden = sizes.hidden}),
      x));
  all.back().count_in_model = kNumBlocks;
  all.back().reference = bench::autograd_feed_forward;
  all.push_back(head_subject(sizes, x));
  all.push_back(layer_subject(
      "Embedding",
      std::make_shared<Embedding>(
          "embed", Embedding::Options{.vocabulary = sizes.vocabulary, .num_channels = sizes.width}),
      ids));
  all.back().count_in_model = 1;
  all.back().reference = bench::autograd_embedding;
  all.push_back(layer_subject(
      "Linear",
      std::make_shared<Linear>(
          "linear", LinearOptions{.num_inputs = sizes.width, .num_outputs = sizes.hidden}),
      x));
  all.back().reference = bench::autograd_linear;
  all.push_back(layer_subject("RmsNorm", std::make_shared<RmsNorm>("norm", sizes.width, 1e-5), x));
  all.back().reference = bench::autograd_norm;
  all.push_back(layer_subject(
      "MambaBlock",
      std::make_shared<MambaBlock>("layer", MambaBlock::Options{.num_channels = sizes.width,
                                                                .inner_channels = 2 * sizes.width,
                                                                .step_rank = sizes.width / 16}),
      x));
  all.back().reference = bench::autograd_mamba;
  all.push_back(module_subject(sizes, x));
  for (Subject& subject : all) {
    give_memory(subject);
  }
  return all;
}

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

// The results, before anything is timed.
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

// One alternating round; which of the two begins alternates too.
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

// The layers of a model added up, round by round.
Subject whole_model(const std::vector<Subject>& subjects) {
  Subject model{.name = fmt::format("model of {} blocks", kNumBlocks)};
  model.rounds.resize(subjects.front().rounds.size());
  for (const Subject& subject : subjects) {
    const auto count = static_cast<double>(subject.count_in_model);
    for (std::size_t i = 0; i < model.rounds.size(); ++i) {
      for (const auto member : {&Seconds::forward, &Seconds::input, &Seconds::weight,
                                &Seconds::autograd_forward, &Seconds::backward}) {
        model.rounds[i].*member += count * (subject.rounds[i].*member);
      }
    }
  }
  return model;
}

struct Options {
  int num_rounds = 40;
  int num_warmup_rounds = 5;
  bool as_json = false;
};

nlohmann::json measure(const Sizes& sizes, const Options& options) {
  std::vector<Subject> subjects = make_subjects(sizes);
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
  rows.push_back(row(sizes, whole_model(subjects)));
  return rows;
}

void print_table(const nlohmann::json& rows) {
  std::cout << fmt::format("{:<7} {:<18} {:>8} {:>8} {:>8} {:>8} {:>8} {:>24}\n", "size", "layer",
                           "F ms", "I ms", "W ms", "their F", "their B", "(I+W)/B (quartiles)");
  for (const nlohmann::json& one : rows) {
    const auto ratio = one["ratio"].get<std::array<double, 3>>();
    std::cout << fmt::format(
        "{:<7} {:<18} {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} {:>8.3f} ({:.3f} - {:.3f})\n",
        one["size"].get<std::string>(), one["layer"].get<std::string>(),
        one["forward_ms"].get<double>(), one["input_ms"].get<double>(),
        one["weight_ms"].get<double>(), one["autograd_forward_ms"].get<double>(),
        one["autograd_backward_ms"].get<double>(), ratio[1], ratio[0], ratio[2]);
  }
}

void run(const Options& options) {
  at::set_num_threads(1);
  const std::array<Sizes, 2> all = {Sizes{"small", 4, 128, 256, 8, 688, 256},
                                    Sizes{"medium", 2, 256, 512, 8, 1376, 256}};
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
