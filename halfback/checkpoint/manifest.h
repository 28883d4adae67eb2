// checkpoint.json: lists what belongs to a checkpoint, so that a torn or altered one is
// distinguished from a complete one. It is written last, and has its own checksum.
#pragma once

#include "halfback/checkpoint/checkpoint_files.h"
#include "halfback/checkpoint/checksum.h"

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

namespace halfback {

struct Manifest {
  std::int64_t step = 0;
  FileSummaries files;  // all but the manifest
};

std::string to_text(const Manifest& manifest);

// Throws FileError if the directory has no manifest of that name, or one that was altered.
Manifest read_manifest(const std::filesystem::path& directory, const char* name = kManifestFile);

// Returns the names in a directory that belong to a checkpoint and are unaltered, which proves that
// they are ours. None if the list is missing or altered. Reads the files that have changed since
// the list was written, even if only by copying.
std::set<std::string> own_entries(const std::filesystem::path& directory);

}  // namespace halfback
