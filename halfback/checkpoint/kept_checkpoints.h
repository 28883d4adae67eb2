// The checkpoints of a run: DIR is the newest; DIR.step-200 and DIR.step-100 are older ones that
// are kept. A run resumes from the newest complete one.
#pragma once

#include "halfback/checkpoint/peers.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

// Returns the path of a checkpoint once a newer one has replaced it.
std::filesystem::path kept_path(const std::filesystem::path& directory, std::int64_t step);

struct KeptCheckpoint {
  std::int64_t step = 0;
  std::filesystem::path path;
};

// Returns everything with such a path, whatever it is, newest first.
std::vector<KeptCheckpoint> kept_names(const std::filesystem::path& directory);

// Returns those that are checkpoints, newest first.
std::vector<KeptCheckpoint> kept_checkpoints(const std::filesystem::path& directory);

// Returns the step of a checkpoint; nothing if its list of files cannot be read.
std::optional<std::int64_t> step_of(const std::filesystem::path& directory);

// Throws FileError, in all peers, saying which file of a checkpoint is missing, torn or altered.
// Each peer reads its part of the bytes. Other files in the directory do not matter.
void require_complete(const std::filesystem::path& directory, const PeersPointer& peers = alone());

// The same for the model alone. A directory that no run of ours wrote has no checksums, so it is
// accepted as it is.
void require_complete_model(const std::filesystem::path& directory,
                            const PeersPointer& peers = alone());

// Where a run resumes.
struct ResumePoint {
  std::filesystem::path directory;
  std::string note;  // says why it is not the newest checkpoint; "" when it is
};

// Returns the newest complete checkpoint. If there is none, throws FileError, in all peers, saying
// what is wrong with each existing one.
ResumePoint find_resume_point(const std::filesystem::path& directory,
                              const PeersPointer& peers = alone());

}  // namespace halfback
