#include "halfback/checkpoint/checkpoint_save.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/staged_directory.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/checkpoint_files.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/checkpoint/manifest.h"
#include "halfback/models/local_heads.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <iterator>
#include <set>
#include <string_view>
#include <system_error>

namespace halfback {

namespace fs = std::filesystem;

namespace {

// Makes the directory that all peers write into.
fs::path make_staging(std::optional<StagedDirectory>& staged,
                      const fs::path& directory,
                      Peers& peers) {
  const std::vector<nlohmann::json> names = together(peers, "the place of a checkpoint", [&] {
    if (peers.is_first()) {
      staged.emplace(directory, kManifestFile, own_entries);
    }
    return nlohmann::json(staged ? staged->path().filename().string() : "");
  });
  const fs::path staging =
      detail::resolve_target(directory).parent_path() / names.front().get<std::string>();
  together(peers, "the place of a checkpoint to be seen", [&] {
    if (!fs::is_directory(staging)) {
      throw FileError(fmt::format(
          "{}: process 0 made it, and it is not there; expected a file system that all processes "
          "share under one path; use another --checkpoint",
          staging.string()));
    }
    return nlohmann::json();
  });
  return staging;
}

// Throws unless a checkpoint may replace everything with the name of one of its files.
void require_own(const fs::path& directory, const Tokenizer& tokenizer) {
  std::error_code ignored;
  std::set<std::string> tokenizer_names;
  for (const auto& [name, bytes] : tokenizer.files()) {
    tokenizer_names.insert(name);
  }
  const std::set<std::string> own = own_entries(directory);
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (own.empty()) {
      throw FileError(fmt::format(
          "{}: holds files but no {} that train has written; a checkpoint replaces no other "
          "directory; choose a new or empty one",
          directory.string(), kManifestFile));
    }
    if (own.count(name) == 0 && (is_checkpoint_file(name) || tokenizer_names.count(name) > 0)) {
      throw FileError(fmt::format(
          "{}: is not as train has written it; a checkpoint would replace it; move it away or "
          "choose another --checkpoint",
          entry.path().string()));
    }
  }
}

// Throws unless everything with the name of a kept checkpoint is one.
void require_kept_names(const fs::path& directory) {
  for (const KeptCheckpoint& kept : kept_names(directory)) {
    if (own_entries(kept.path).empty()) {
      throw FileError(
          fmt::format("{}: is not a checkpoint that train has written, and --keep may need its "
                      "name; move it away "
                      "or choose another --checkpoint",
                      kept.path.string()));
    }
  }
}

void require_room(const fs::path& directory, std::uint64_t bytes) {
  std::error_code error;
  const fs::path parent = detail::resolve_target(directory).parent_path();
  const fs::space_info space = fs::space(parent, error);
  if (!error && space.available < bytes) {
    throw FileError(
        fmt::format("{}: {} are free there; a checkpoint takes {}, beside the one before it; make "
                    "room or choose "
                    "another --checkpoint",
                    directory.string(), format_bytes(static_cast<std::int64_t>(space.available)),
                    format_bytes(static_cast<std::int64_t>(bytes))));
  }
}

// Moves the checkpoint, and those before it, into place.
void commit(StagedDirectory& staged, const fs::path& directory, const CheckpointOptions& options) {
  const std::optional<std::int64_t> previous = options.previous_step;
  const std::vector<fs::path> aside = staged.commit(
      previous && step_of(directory) == previous ? kept_path(directory, *previous) : fs::path());
  for (const fs::path& path : aside) {
    if (options.on_note) {
      options.on_note(
          fmt::format("{}: holds what lay in the way of a checkpoint and train has not written so",
                      path.string()));
    }
  }
  int num_kept = 1;
  for (const KeptCheckpoint& kept : kept_checkpoints(directory)) {
    if (previous && kept.step <= *previous && num_kept < options.keep) {
      ++num_kept;
    } else {
      staged.discard(kept.path);
    }
  }
}

// Sets the types of the values in the file, and appends to `state` those that lose precision.
void set_types(const CheckpointOptions& options,
               std::vector<NamedTensor>& values,
               std::vector<NamedTensor>& state) {
  for (NamedTensor& value : values) {
    const auto inherited = options.inherited.dtypes.find(value.name);
    const bool is_inherited = inherited != options.inherited.dtypes.end();
    const bool is_count = is_inherited && !at::isFloatingType(inherited->second);
    value.stored_as = options.dtype && !is_count ? options.dtype
                      : is_inherited             ? std::optional(inherited->second)
                                                 : std::nullopt;
    if (value.stored_as && c10::elementSize(*value.stored_as) < value.tensor.dtype().itemsize()) {
      state.push_back({kExactValue + value.name, value.tensor});
    }
  }
}

// The model of a checkpoint has no local heads; they belong to the training.
void move_heads(std::vector<NamedTensor>& values, std::vector<NamedTensor>& state) {
  const auto heads =
      std::stable_partition(values.begin(), values.end(),
                            [](const NamedTensor& value) { return !is_of_local_head(value.name); });
  std::for_each(heads, values.end(), [&](const NamedTensor& head) {
    state.push_back({kExactValue + head.name, head.tensor});
  });
  values.erase(heads, values.end());
}

}  // namespace

void save_checkpoint(const fs::path& directory,
                     const ModelConfig& config,
                     const std::vector<StageBuffers>& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options) {
  std::vector<NamedTensor> values;
  for (const StageBuffers& stage : stages) {
    std::vector<NamedTensor> more = value_tensors(stage, Copies::Without);
    std::move(more.begin(), more.end(), std::back_inserter(values));
  }
  std::vector<NamedTensor> states = state_tensors(stages, Copies::Without);
  move_heads(values, states);
  set_types(options, values, states);
  if (options.peers->is_first()) {
    const std::vector<NamedTensor>& others = options.inherited.tensors;
    values.insert(values.end(), others.begin(), others.end());
  }
  std::optional<StagedDirectory> staged;  // of the first peer
  const fs::path staging = make_staging(staged, directory, *options.peers);
  Manifest manifest{.step = state.step};
  manifest.files =
      save_sharded(staging, kModelTensors, values, options.max_shard_bytes, options.peers);
  manifest.files.merge(
      save_sharded(staging, kStateTensors, states, options.max_shard_bytes, options.peers));
  const auto write = [&](const std::string& name, std::string_view bytes) {
    fs::create_directories((staging / name).parent_path());
    write_file_atomically(staging / name, bytes);
    manifest.files[name].add(bytes);
  };
  together(*options.peers, "the end of a checkpoint", [&] {
    if (options.peers->is_first()) {
      for (const auto& [name, bytes] : options.tokenizer->files()) {
        write(name, bytes);
      }
      for (const auto& [name, bytes] : options.inherited.files) {
        write(name, bytes);
      }
      write(kTrainingStateFile, to_text(state));
      write(kConfigFile, config_text(config, options.inherited, options.dtype));
      write_file_atomically(staging / kManifestFile, to_text(manifest));
      commit(*staged, directory, options);
    }
    return nlohmann::json();
  });
  if (options.on_complete) {
    options.on_complete(state.step);
  }
}

void save_checkpoint(const fs::path& directory,
                     const ModelConfig& config,
                     const StageList& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options) {
  std::vector<StageBuffers> buffers;
  for (Stage* const stage : stages) {
    std::vector<ShardedBuffer> held = stage->update_state();
    buffers.push_back(buffers_of(*stage, held));
  }
  save_checkpoint(directory, config, buffers, state, options);
}

bool writes_stage(int stage, int replica, int num_replicas) {
  return stage % num_replicas == replica;
}

std::uint64_t checkpoint_bytes(const StageList& stages) {
  std::int64_t bytes = 0;
  for (Stage* const stage : stages) {
    const auto num_kinds = static_cast<std::int64_t>(stage->update_state().size());
    for (const Parameter* const one : stage->store().parameters()) {
      const std::int64_t num_tensors = one->is_copy ? 0 : one->trains ? 1 + num_kinds : 1;
      bytes += num_tensors * one->numel() * stage->store().values().element_size();
    }
  }
  return static_cast<std::uint64_t>(bytes);
}

void require_checkpoint_place(const fs::path& directory, const CheckpointPlace& place) {
  const std::vector<nlohmann::json> bytes = together(*place.peers, "the size of a checkpoint",
                                                     [&] { return nlohmann::json(place.bytes); });
  std::optional<StagedDirectory> removed_again;
  make_staging(removed_again, directory, *place.peers);
  together(*place.peers, "the check of a place for checkpoints", [&] {
    if (place.peers->is_first()) {
      if (!place.sets_aside) {
        require_own(directory, *place.tokenizer);
      }
      if (place.keep > 1 && !place.sets_aside) {
        require_kept_names(directory);
      }
      std::uint64_t sum = 0;
      for (const nlohmann::json& part : bytes) {
        sum += part.get<std::uint64_t>();
      }
      require_room(directory, sum);
    }
    return nlohmann::json();
  });
}

}  // namespace halfback
