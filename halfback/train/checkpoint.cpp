#include "halfback/train/checkpoint.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/base/staged_directory.h"
#include "halfback/data/sentence_piece.h"
#include "halfback/train/model_json.h"
#include "halfback/train/safetensors.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

namespace halfback {

namespace {

constexpr const char* kConfigFile = "config.json";
constexpr const char* kTokenizerFile = "tokenizer.model";
constexpr const char* kTokenizerConfigFile = "tokenizer_config.json";
constexpr const char* kStateFile = "training_state.json";
constexpr const char* kStateTensors = "training_state";
constexpr int kStateVersion = 1;

// The rows of one stage's buffer that a checkpoint knows by a name of their own.
struct Slot {
  std::string name;
  at::Tensor tensor;
};

// Appends the named parts of a tensor in the shape of the parameter.
void append_slots(const Parameter& parameter, const at::Tensor& whole, std::vector<Slot>& all) {
  if (parameter.checkpoint_rows.empty()) {
    all.push_back({parameter.name, whole});
  }
  for (const NamedRows& rows : parameter.checkpoint_rows) {
    all.push_back({rows.name, whole.narrow(0, rows.begin, rows.end - rows.begin)});
  }
}

// Whether copies of parameters are among the slots: a file has them once, under their original.
enum class Copies { With, Without };

// Returns the named parts of the values, those that do not train among them.
std::vector<Slot> value_slots(const ParameterStore& store, Copies copies) {
  std::vector<Slot> all;
  for (const Parameter* const parameter : store.parameters()) {
    if (copies == Copies::With || !parameter->is_copy) {
      append_slots(*parameter, parameter->value, all);
    }
  }
  return all;
}

// Returns the named parts of a buffer of the optimizer in the layout of the store.
std::vector<Slot> state_slots(const ParameterStore& store,
                              const at::Tensor& buffer,
                              Copies copies) {
  std::vector<Slot> all;
  for (std::size_t i = 0; i < store.parameters().size(); ++i) {
    const Parameter& parameter = *store.parameters()[i];
    if (parameter.trains && (copies == Copies::With || !parameter.is_copy)) {
      append_slots(parameter, store.view(buffer, i), all);
    }
  }
  return all;
}

// Calls visit(name, tensor) for every tensor of the optimizers' state, kind by kind in model order,
// so that the file does not depend on the cut.
template <typename Visit>
void for_each_state_tensor(const StageList& stages, Copies copies, Visit visit) {
  const std::size_t num_kinds = stages.front()->optimizer().state().size();
  for (std::size_t k = 0; k < num_kinds; ++k) {
    for (Stage* const stage : stages) {
      const auto [kind, buffer] = stage->optimizer().state()[k];
      for (const Slot& slot : state_slots(stage->store(), buffer, copies)) {
        visit(kind + "." + slot.name, slot.tensor);
      }
    }
  }
}

nlohmann::json to_json(const TrainingState& state) {
  nlohmann::json json = {{"version", kStateVersion},     {"step", state.step},
                         {"position", state.position},   {"seed", state.seed},
                         {"optimizer", state.optimizer}, {"data_bytes", state.data_bytes}};
  if (state.loss_scale) {
    json["loss_scale"] = {{"value", state.loss_scale->value},
                          {"good_steps", state.loss_scale->good_steps},
                          {"skipped_steps", state.loss_scale->skipped_steps}};
  }
  return json;
}

std::optional<LossScaleState> loss_scale_of(const nlohmann::json& json) {
  const auto found = json.find("loss_scale");
  if (found == json.end()) {
    return std::nullopt;
  }
  return LossScaleState{.value = found->at("value").get<double>(),
                        .good_steps = found->at("good_steps").get<std::int64_t>(),
                        .skipped_steps = found->at("skipped_steps").get<std::int64_t>()};
}

// What makes Hugging Face's AutoTokenizer give our ids.
nlohmann::json tokenizer_config(const Tokenizer& tokenizer) {
  const std::vector<std::int32_t> letter = tokenizer.encode("a");
  return {
      {"tokenizer_class", "LlamaTokenizer"},
      {"add_prefix_space", !letter.empty() && tokenizer.text_of(letter.front()).starts_with(' ')},
      {"add_bos_token", false},
      {"add_eos_token", false}};
}

[[noreturn]] void refuse_state(const std::filesystem::path& path, const std::string& found) {
  throw FileError(fmt::format(
      "{}: {}; expected the training state that train writes; resume from another checkpoint",
      path.string(), found));
}

void write_json(const std::filesystem::path& path, const nlohmann::json& json) {
  write_file_atomically(path, json.dump(2) + "\n");
}

}  // namespace

void save_checkpoint(const std::filesystem::path& directory,
                     const ModelConfig& config,
                     const StageList& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options) {
  StagedDirectory staged(directory, kConfigFile);
  std::vector<NamedTensor> parameters;
  for (Stage* const stage : stages) {
    for (Slot& slot : value_slots(stage->store(), Copies::Without)) {
      parameters.push_back({std::move(slot.name), std::move(slot.tensor)});
    }
  }
  std::vector<NamedTensor> state_tensors;
  for_each_state_tensor(stages, Copies::Without, [&](std::string name, const at::Tensor& tensor) {
    state_tensors.push_back({std::move(name), tensor});
  });
  save_sharded(staged.path(), "model", parameters, options.max_shard_bytes);
  save_sharded(staged.path(), kStateTensors, state_tensors, options.max_shard_bytes);
  if (const std::string_view tokenizer = options.tokenizer->model(); !tokenizer.empty()) {
    write_file_atomically(staged.path() / kTokenizerFile, tokenizer);
    write_json(staged.path() / kTokenizerConfigFile, tokenizer_config(*options.tokenizer));
  }
  write_json(staged.path() / kStateFile, to_json(state));
  write_json(staged.path() / kConfigFile, model_to_json(config));
  staged.commit();
}

void require_checkpoint_place(const std::filesystem::path& directory) {
  const StagedDirectory removed_again(directory, kConfigFile);
}

ModelConfig load_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kConfigFile;
  return model_from_json(parse_json(read_file(path), path.string()), path.string());
}

TokenizerPointer load_tokenizer(const std::filesystem::path& directory) {
  std::error_code ignored;
  return std::filesystem::exists(directory / kTokenizerFile, ignored)
             ? load_sentence_piece(directory / kTokenizerFile)
             : byte_tokenizer();
}

void require_same_tokenizer(const std::filesystem::path& directory, const Tokenizer& wanted) {
  const TokenizerPointer found = load_tokenizer(directory);
  const auto describe = [](const Tokenizer& one) {
    return one.model().empty() ? "bytes" : fmt::format("{} pieces", one.vocabulary());
  };
  if (found->model() != wanted.model()) {
    throw ConfigError(fmt::format(
        "{}: checkpoint of another tokenizer: {} there and {} in this run; leave out --tokenizer, "
        "or use another --checkpoint",
        directory.string(), describe(*found), describe(wanted)));
  }
}

void load_parameters(const std::filesystem::path& directory, const StageList& stages) {
  const c10::InferenceMode no_graph;
  const SafetensorsDirectory files(directory);
  for (Stage* const stage : stages) {
    for (Slot& slot : value_slots(stage->store(), Copies::With)) {
      const std::string inner = slot.name.substr(slot.name.find('.') + 1);
      const std::string& name =
          files.contains(inner) && !files.contains(slot.name) ? inner : slot.name;
      // torch counts batches in int64; ours are numbers like all others.
      const at::ScalarType dtype = name.ends_with(".num_batches_tracked") && files.contains(name)
                                       ? files.get(name).scalar_type()
                                       : slot.tensor.scalar_type();
      slot.tensor.copy_(files.expect(name, slot.tensor.sizes(), dtype));
    }
  }
}

TrainingState load_training_state(const std::filesystem::path& directory,
                                  const StageList& stages,
                                  const std::string& optimizer) {
  const std::filesystem::path path = directory / kStateFile;
  const nlohmann::json json = parse_json(read_file(path), path.string());
  TrainingState state;
  try {
    if (json.at("version").get<int>() != kStateVersion) {
      throw FileError(fmt::format("{}: version {}; expected {}; use the release that wrote it",
                                  path.string(), json.at("version").dump(), kStateVersion));
    }
    state = {.step = json.at("step").get<std::int64_t>(),
             .position = json.at("position").get<std::int64_t>(),
             .seed = json.at("seed").get<std::uint64_t>(),
             .optimizer = json.at("optimizer").get<std::string>(),
             .data_bytes = json.at("data_bytes").get<std::int64_t>(),
             .loss_scale = loss_scale_of(json)};
  } catch (const nlohmann::json::exception& error) {
    refuse_state(path, error.what());
  }
  if (state.step < 0 || state.position < 0) {
    refuse_state(path, fmt::format("step {}, position {}", state.step, state.position));
  }
  if (const auto& scale = state.loss_scale;
      scale && !(scale->value > 0.0 && scale->good_steps >= 0 && scale->skipped_steps >= 0)) {
    refuse_state(path, fmt::format("loss scale {}, {} good steps, {} skipped", scale->value,
                                   scale->good_steps, scale->skipped_steps));
  }
  if (state.optimizer != optimizer) {
    throw FileError(fmt::format("{}: state of optimizer {}; this run has {}; use --optimizer {}",
                                path.string(), state.optimizer, optimizer, state.optimizer));
  }
  const c10::InferenceMode no_graph;
  const SafetensorsDirectory files(directory, kStateTensors);
  for_each_state_tensor(stages, Copies::With, [&](const std::string& name, at::Tensor tensor) {
    tensor.copy_(files.expect(name, tensor.sizes(), tensor.scalar_type()));
  });
  return state;
}

void require_same_model(const ModelConfig& found,
                        const ModelConfig& wanted,
                        const std::filesystem::path& where) {
  const auto refuse = [&](const std::string& there, const std::string& here,
                          const std::string& remedy) {
    throw ConfigError(fmt::format(
        "{}: checkpoint of another model: {} there and {} in this run; {} or another --checkpoint",
        where.string(), there, here, remedy));
  };
  if (model_name(found) != model_name(wanted)) {
    refuse("a " + model_name(found), "a " + model_name(wanted), "use --model " + model_name(found));
  }
  ModelConfig found_copy = found;
  ModelConfig wanted_copy = wanted;
  const ModelSizes theirs = sizes_of(found_copy);
  const ModelSizes ours = sizes_of(wanted_copy);
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    const std::string there = to_text(theirs[i]);
    const std::string here = to_text(ours[i]);
    if (there == here) {
      continue;
    }
    const std::string option = fmt::format("--{}", theirs[i].name);
    if (std::holds_alternative<bool*>(theirs[i].value)) {
      refuse(fmt::format("{} is {}", theirs[i].name, there), here,
             fmt::format("{} {}", there == "true" ? "add" : "leave out", option));
    }
    refuse(fmt::format("{} is {}", theirs[i].name, there), here,
           fmt::format("use {} {}", option, there));
  }
}

}  // namespace halfback
