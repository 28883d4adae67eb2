#include "halfback/train/generation.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/base/keyed_random.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/checkpoint_files.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/models/llama_decoder.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numeric>
#include <system_error>
#include <utility>
#include <vector>

namespace halfback {

namespace {

constexpr const char* kGenerationFile = "generation_config.json";

void check(const GenerationOptions& options) {
  const auto require = [](bool holds, const char* name, double value, const char* expected) {
    if (!holds) {
      throw ConfigError(fmt::format("generate: --{} is {:g}; expected {}", name, value, expected));
    }
  };
  require(options.num_tokens >= 0 && options.num_tokens <= 1'000'000, "tokens",
          static_cast<double>(options.num_tokens), "a number from 0 to 1000000");
  require(std::isfinite(options.temperature) && options.temperature >= 0.0, "temperature",
          options.temperature, "0 or more");
  require(options.top_k >= 0, "top-k", static_cast<double>(options.top_k), "0 or more");
  if (options.prompt.empty()) {
    throw ConfigError("generate: the prompt is empty; expected at least one byte in --prompt");
  }
}

// A model may have more tokens than its tokenizer, but a model of other tokens cannot use bytes.
void check_vocabulary(const std::filesystem::path& checkpoint,
                      const LlamaConfig& config,
                      const Tokenizer& tokenizer) {
  const bool is_bytes = tokenizer.files().empty();
  const bool fits = is_bytes ? config.vocabulary == tokenizer.vocabulary()
                             : config.vocabulary >= tokenizer.vocabulary();
  if (!fits) {
    throw FileError(fmt::format("{}: vocabulary {}; expected {}, {}", checkpoint.string(),
                                config.vocabulary, tokenizer.vocabulary(),
                                is_bytes ? "a byte-level model, or a tokenizer's file beside it"
                                         : "as its " + tokenizer.name() + " has"));
  }
}

// Keys of generation_config.json that change what transformers generates and for which we have no
// option, each with the value that changes nothing.
constexpr auto kNotApplied =
    std::to_array<std::pair<const char*, int>>({{"repetition_penalty", 1},
                                                {"encoder_repetition_penalty", 1},
                                                {"no_repeat_ngram_size", 0},
                                                {"encoder_no_repeat_ngram_size", 0},
                                                {"min_length", 0},
                                                {"min_new_tokens", 0},
                                                {"num_beams", 1},
                                                {"suppress_tokens", -1},
                                                {"begin_suppress_tokens", -1},
                                                {"bad_words_ids", -1},
                                                {"sequence_bias", -1},
                                                {"forced_bos_token_id", -1},
                                                {"forced_eos_token_id", -1},
                                                {"exponential_decay_length_penalty", -1},
                                                {"guidance_scale", 1},
                                                {"penalty_alpha", 0},
                                                {"watermarking_config", -1},
                                                {"stop_strings", -1},
                                                {"top_p", 1},
                                                {"min_p", 0},
                                                {"typical_p", 1},
                                                {"epsilon_cutoff", 0},
                                                {"eta_cutoff", 0}});

void note_not_applied(const GenerationOptions& options) {
  const std::filesystem::path path = options.checkpoint / kGenerationFile;
  std::error_code ignored;
  if (!options.on_note || !std::filesystem::exists(path, ignored)) {
    return;
  }
  const nlohmann::json config = parse_json(read_file(path), path.string());
  for (const auto& [key, neutral] : kNotApplied) {
    const nlohmann::json found =
        config.is_object() ? config.value(key, nlohmann::json()) : nlohmann::json();
    if (!found.empty() && found != neutral) {
      options.on_note(
          fmt::format("{}: {} {} is not applied", path.string(), key, quote(found.dump())));
    }
  }
}

// Returns the tokens that end a text, from generation_config.json, else from config.json.
std::vector<std::int64_t> end_tokens(const std::filesystem::path& checkpoint) {
  for (const char* const name : {kGenerationFile, kConfigFile}) {
    const std::filesystem::path path = checkpoint / name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
      continue;
    }
    const nlohmann::json config = parse_json(read_file(path), path.string());
    const nlohmann::json found =
        config.is_object() ? config.value("eos_token_id", nlohmann::json()) : nlohmann::json();
    const nlohmann::json all = found.is_array() ? found : nlohmann::json::array({found});
    const auto is_id = [](const nlohmann::json& one) { return one.is_number_integer(); };
    if (found.is_null()) {
      return {};  // as in transformers: the first file says that there are none
    }
    if (!std::all_of(all.begin(), all.end(), is_id)) {
      throw FileError(
          fmt::format("{}: eos_token_id {}; expected a token or a list of them; correct the file",
                      path.string(), quote(found.dump())));
    }
    return all.get<std::vector<std::int64_t>>();
  }
  return {};
}

// Returns what the model has seen before texts, followed by the prompt.
std::vector<std::int32_t> prompt_tokens(const Tokenizer& tokenizer, const std::string& prompt) {
  std::vector<std::int32_t> tokens = tokenizer.prefix();
  const std::vector<std::int32_t> encoded = tokenizer.encode(prompt);
  tokens.insert(tokens.end(), encoded.begin(), encoded.end());
  if (tokens.empty()) {
    throw ConfigError("generate: the prompt has no tokens; expected at least one in --prompt");
  }
  return tokens;
}

at::Tensor to_tensor(const std::vector<std::int32_t>& tokens) {
  at::Tensor tensor = at::empty({1, static_cast<std::int64_t>(tokens.size())}, at::kLong);
  std::copy(tokens.begin(), tokens.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor;
}

}  // namespace

std::int64_t sample(const at::Tensor& logits, const SamplingOptions& options) {
  const auto* const values = logits.const_data_ptr<float>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(logits.numel()));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  // Equal logits keep the order of their ids, so that the draw is the same everywhere.
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return values[a] > values[b]; });
  if (options.temperature == 0.0) {
    return order.front();
  }
  if (options.top_k > 0 && options.top_k < logits.numel()) {
    order.resize(static_cast<std::size_t>(options.top_k));
  }
  std::vector<double> cumulative;
  double total = 0.0;
  for (const std::int64_t id : order) {
    total +=
        std::exp((static_cast<double>(values[id]) - static_cast<double>(values[order.front()])) /
                 options.temperature);
    cumulative.push_back(total);
  }
  const auto drawn =
      std::upper_bound(cumulative.begin(), cumulative.end(), options.uniform * total);
  const auto index = std::min<std::ptrdiff_t>(drawn - cumulative.begin(),
                                              static_cast<std::ptrdiff_t>(order.size()) - 1);
  return order[static_cast<std::size_t>(index)];
}

void generate(const GenerationOptions& options,
              const std::function<bool(std::string_view)>& on_text) {
  check(options);
  const c10::InferenceMode no_graph;
  require_complete_model(options.checkpoint);
  const ModelConfig model = load_config(options.checkpoint);
  if (!std::holds_alternative<LlamaConfig>(model)) {
    throw FileError(
        fmt::format("{}: a {}; text can be generated with llama only; use such a checkpoint",
                    options.checkpoint.string(), model_name(model)));
  }
  auto config = std::get<LlamaConfig>(model);
  const TokenizerPointer tokenizer = load_tokenizer(options.checkpoint);
  check_vocabulary(options.checkpoint, config, *tokenizer);
  if (options.on_tokenizer) {
    options.on_tokenizer(*tokenizer);
  }
  note_not_applied(options);
  const std::vector<std::int64_t> ends = end_tokens(options.checkpoint);
  const std::vector<std::int32_t> prompt = prompt_tokens(*tokenizer, options.prompt);
  // Only the table of angles depends on the length, so text may be longer than in training.
  const std::int64_t length = static_cast<std::int64_t>(prompt.size()) + options.num_tokens;
  if (config.exact_length > 0 && length > config.exact_length) {
    throw ConfigError(fmt::format(
        "generate: {} tokens of the prompt and {} behind them; expected {} or less together: "
        "beyond "
        "that this checkpoint's attention is a sliding window, or its rotary positions change with "
        "the length, which is not built; use fewer --tokens",
        prompt.size(), options.num_tokens, config.exact_length));
  }
  config.sequence = std::max(config.sequence, length);
  config.positions = std::max(config.positions, length);
  Stage stage(std::move(build_llama(config, {static_cast<int>(config.num_layers)}).front()),
              {.device = options.device});
  load_parameters(options.checkpoint, {&stage});
  require_finite({&stage}, options.checkpoint);

  LlamaDecoder decoder(stage.layers());
  const std::unique_ptr<TextDecoder> text = tokenizer->decoder();
  std::string prompt_text;
  for (const std::int32_t token : prompt) {
    prompt_text += text->add(token);
  }
  if (options.on_prompt) {
    options.on_prompt(prompt_text);
  }
  at::Tensor logits = decoder.extend(to_tensor(prompt).to(options.device));
  for (std::int64_t i = 0; i < options.num_tokens; ++i) {
    const std::int64_t token =
        sample(logits.squeeze(0).cpu().narrow(0, 0, tokenizer->vocabulary()),
               {.temperature = options.temperature,
                .top_k = options.top_k,
                .uniform = to_unit_interval(
                    keyed_hash(Purpose::Sampling, {options.seed, static_cast<std::uint64_t>(i)}))});
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
      break;
    }
    if (!on_text(text->add(token))) {
      return;
    }
    logits = decoder.extend(to_tensor({static_cast<std::int32_t>(token)}).to(options.device));
  }
  if (const std::string rest = text->finish(); !rest.empty()) {
    on_text(rest);
  }
}

}  // namespace halfback
