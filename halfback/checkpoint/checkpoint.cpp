#include "halfback/checkpoint/checkpoint.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/checkpoint/checkpoint_files.h"
#include "halfback/checkpoint/model_json.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/data/tokens/tokenizer_files.h"
#include "halfback/models/local_heads.h"

#include <ATen/ops/all.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <system_error>

namespace halfback {

ModelConfig load_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kConfigFile;
  return model_from_json(parse_json(read_file(path), path.string()), path.string());
}

namespace {

// Whether a directory without a tokenizer has a model of bytes: one of ours, or one with no more
// tokens than bytes, the mask and some special tokens need.
bool is_of_bytes(const std::filesystem::path& directory) {
  std::error_code ignored;
  if (std::filesystem::exists(directory / kManifestFile, ignored) ||
      std::filesystem::exists(directory / kTrainingStateFile, ignored)) {
    return true;
  }
  const std::filesystem::path path = directory / kConfigFile;
  const nlohmann::json config = parse_json(read_file(path), path.string());
  const auto found = config.find("vocab_size");
  const std::int64_t bytes = byte_tokenizer()->vocabulary();
  return found == config.end() || (*found >= bytes && *found <= 2 * bytes);
}

}  // namespace

TokenizerPointer load_tokenizer(const std::filesystem::path& directory) {
  if (TokenizerPointer found = find_tokenizer(directory)) {
    return found;
  }
  if (!is_of_bytes(directory)) {
    throw FileError(fmt::format(
        "{}: no tokenizer, and its vocabulary is not that of bytes; expected a tokenizer.json, a "
        "tokenizer.model or a vocab.txt; put it there, or name one with --tokenizer FILE",
        directory.string()));
  }
  return byte_tokenizer();
}

void require_same_tokenizer(const std::filesystem::path& directory, const Tokenizer& wanted) {
  TokenizerPointer found = find_tokenizer(directory);
  if (found == nullptr && !is_of_bytes(directory)) {
    return;  // the checkpoint does not name one
  }
  found = found == nullptr ? byte_tokenizer() : found;
  const auto describe = [](const Tokenizer& one) {
    return one.files().empty() ? "bytes" : fmt::format("{} pieces", one.vocabulary());
  };
  if (found->identity() != wanted.identity()) {
    throw ConfigError(fmt::format(
        "{}: checkpoint of another tokenizer: {} there and {} in this run; leave out --tokenizer, "
        "or use another --checkpoint",
        directory.string(), describe(*found), describe(wanted)));
  }
}

void load_parameters(const std::filesystem::path& directory, const StageList& stages) {
  load_parameters(ModelTensors(directory, load_config(directory)), stages);
}

void load_parameters(const ModelTensors& tensors, const StageList& stages) {
  const c10::InferenceMode no_graph;
  for (Stage* const stage : stages) {
    for (const NamedTensor& named : value_tensors(value_buffers_of(*stage), Copies::With)) {
      if (tensors.contains(named.name)) {
        tensors.copy(named.name, named.tensor);
      }
    }
  }
}

void require_finite(const StageList& stages, const std::filesystem::path& source) {
  const c10::InferenceMode no_graph;
  for (Stage* const stage : stages) {
    for (const NamedTensor& named : value_tensors(value_buffers_of(*stage), Copies::With)) {
      if (!at::isfinite(named.tensor).all().item<bool>()) {
        throw FileError(fmt::format(
            "{}: tensor {} holds NaN or infinity, or a value beyond float32; expected finite "
            "numbers; use another checkpoint",
            source.string(), quote(named.name)));
      }
    }
  }
}

TrainingState load_training_state(const std::filesystem::path& directory,
                                  const StageList& stages,
                                  const std::string& optimizer) {
  const TrainingState state = read_training_state(directory);
  if (state.optimizer != optimizer) {
    throw FileError(fmt::format("{}: state of optimizer {}; this run has {}; use --optimizer {}",
                                (directory / kTrainingStateFile).string(), state.optimizer,
                                optimizer, state.optimizer));
  }
  const c10::InferenceMode no_graph;
  const SafetensorsDirectory files(directory, kStateTensors);
  for (Stage* const stage : stages) {
    std::vector<ShardedBuffer> state_buffers = stage->update_state();
    for (const NamedTensor& named :
         state_tensors({buffers_of(*stage, state_buffers)}, Copies::With)) {
      named.tensor.copy_(
          files.expect(named.name, named.tensor.sizes(), named.tensor.scalar_type()));
    }
    for (const NamedTensor& named : value_tensors(value_buffers_of(*stage), Copies::With)) {
      if (const std::string exact = kExactValue + named.name;
          files.contains(exact) || is_of_local_head(named.name)) {
        named.tensor.copy_(files.expect(exact, named.tensor.sizes(), named.tensor.scalar_type()));
      }
    }
    for (ShardedBuffer& buffer : state_buffers) {
      buffer.take_own();
    }
  }
  return state;
}

void require_same_model(const ModelConfig& found,
                        const ModelConfig& wanted,
                        const std::filesystem::path& where,
                        Fixed compared) {
  const auto refuse = [&](const std::string& there, const std::string& here,
                          const std::string& remedy) {
    throw ConfigError(fmt::format(
        "{}: checkpoint of another model: {} there and {} in this run; {} or another --checkpoint",
        where.string(), there, here, remedy));
  };
  if (model_name(found) != model_name(wanted)) {
    refuse("a " + model_name(found), "a " + model_name(wanted), "use --model " + model_name(found));
  }
  ModelConfig found_copy = resolved(found);
  ModelConfig wanted_copy = resolved(wanted);
  const ModelSizes theirs = sizes_of(found_copy);
  const ModelSizes ours = sizes_of(wanted_copy);
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    const std::string there = to_text(theirs[i]);
    const std::string here = to_text(ours[i]);
    if (there == here || theirs[i].fixed > compared) {
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
