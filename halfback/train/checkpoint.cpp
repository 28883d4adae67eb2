#include "halfback/train/checkpoint.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/base/staged_directory.h"
#include "halfback/train/llama_json.h"
#include "halfback/train/safetensors.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace halfback {

namespace {

constexpr const char* kConfigFile = "config.json";
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

// Returns the named parts of the values, those that do not train among them.
std::vector<Slot> value_slots(const ParameterStore& store) {
  std::vector<Slot> all;
  for (const Parameter* const parameter : store.parameters()) {
    append_slots(*parameter, parameter->value, all);
  }
  return all;
}

// Returns the named parts of a buffer of the optimizer in the layout of the store.
std::vector<Slot> state_slots(const ParameterStore& store, const at::Tensor& buffer) {
  std::vector<Slot> all;
  for (std::size_t i = 0; i < store.parameters().size(); ++i) {
    const Parameter& parameter = *store.parameters()[i];
    if (parameter.trains) {
      append_slots(parameter, store.view(buffer, i), all);
    }
  }
  return all;
}

// Calls visit(name, tensor) for every tensor of the optimizers' state, kind by kind in model order,
// so that the file does not depend on the cut.
template <typename Visit>
void for_each_state_tensor(const StageList& stages, Visit visit) {
  const std::size_t num_kinds = stages.front()->optimizer().state().size();
  for (std::size_t k = 0; k < num_kinds; ++k) {
    for (Stage* const stage : stages) {
      const auto [kind, buffer] = stage->optimizer().state()[k];
      for (const Slot& slot : state_slots(stage->store(), buffer)) {
        visit(kind + "." + slot.name, slot.tensor);
      }
    }
  }
}

nlohmann::json to_json(const TrainingState& state) {
  return {{"version", kStateVersion},     {"step", state.step},
          {"position", state.position},   {"seed", state.seed},
          {"optimizer", state.optimizer}, {"data_bytes", state.data_bytes}};
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
                     const LlamaConfig& config,
                     const StageList& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options) {
  StagedDirectory staged(directory, kConfigFile);
  std::vector<NamedTensor> parameters;
  for (Stage* const stage : stages) {
    for (Slot& slot : value_slots(stage->store())) {
      parameters.push_back({std::move(slot.name), std::move(slot.tensor)});
    }
  }
  std::vector<NamedTensor> state_tensors;
  for_each_state_tensor(stages, [&](std::string name, const at::Tensor& tensor) {
    state_tensors.push_back({std::move(name), tensor});
  });
  save_sharded(staged.path(), "model", parameters, options.max_shard_bytes);
  save_sharded(staged.path(), kStateTensors, state_tensors, options.max_shard_bytes);
  write_json(staged.path() / kStateFile, to_json(state));
  write_json(staged.path() / kConfigFile, llama_to_json(config));
  staged.commit();
}

void require_checkpoint_place(const std::filesystem::path& directory) {
  const StagedDirectory removed_again(directory, kConfigFile);
}

LlamaConfig load_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kConfigFile;
  return llama_from_json(parse_json(read_file(path), path.string()), path.string());
}

void load_parameters(const std::filesystem::path& directory, const StageList& stages) {
  const c10::InferenceMode no_graph;
  const SafetensorsDirectory files(directory);
  for (Stage* const stage : stages) {
    for (Slot& slot : value_slots(stage->store())) {
      slot.tensor.copy_(files.expect(slot.name, slot.tensor.sizes(), slot.tensor.scalar_type()));
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
             .data_bytes = json.at("data_bytes").get<std::int64_t>()};
  } catch (const nlohmann::json::exception& error) {
    refuse_state(path, error.what());
  }
  if (state.step < 0 || state.position < 0) {
    refuse_state(path, fmt::format("step {}, position {}", state.step, state.position));
  }
  if (state.optimizer != optimizer) {
    throw FileError(fmt::format("{}: state of optimizer {}; this run has {}; use --optimizer {}",
                                path.string(), state.optimizer, optimizer, state.optimizer));
  }
  const c10::InferenceMode no_graph;
  const SafetensorsDirectory files(directory, kStateTensors);
  for_each_state_tensor(stages, [&](const std::string& name, at::Tensor tensor) {
    tensor.copy_(files.expect(name, tensor.sizes(), tensor.scalar_type()));
  });
  return state;
}

void require_same_model(const LlamaConfig& found,
                        const LlamaConfig& wanted,
                        const std::filesystem::path& where) {
  const std::array<std::pair<const char*, std::pair<double, double>>, 9> sizes = {{
      {"layers", {found.num_layers, wanted.num_layers}},
      {"width", {found.width, wanted.width}},
      {"heads", {found.num_heads, wanted.num_heads}},
      {"kv-heads", {found.num_key_value_heads, wanted.num_key_value_heads}},
      {"hidden", {found.hidden, wanted.hidden}},
      {"sequence", {found.sequence, wanted.sequence}},
      {"vocabulary", {found.vocabulary, wanted.vocabulary}},
      {"rope-theta", {found.rope_theta, wanted.rope_theta}},
      {"norm-epsilon", {found.norm_epsilon, wanted.norm_epsilon}},
  }};
  for (const auto& [name, both] : sizes) {
    if (both.first != both.second) {
      throw ConfigError(
          fmt::format("{}: checkpoint of another model: {} is {:g} there and {:g} in this run; "
                      "use --{} {:g} or another --checkpoint",
                      where.string(), name, both.first, both.second, name, both.first));
    }
  }
  if (found.has_tied_head != wanted.has_tied_head) {
    throw ConfigError(fmt::format(
        "{}: checkpoint of another model: its head is {}tied; {} or use another --checkpoint",
        where.string(), found.has_tied_head ? "" : "not ",
        found.has_tied_head ? "add --tied-head" : "leave --tied-head out"));
  }
}

}  // namespace halfback
