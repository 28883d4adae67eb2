// checkpoint.json: what belongs to a checkpoint, so that one that is torn or altered is
// distinguished from one that is whole. It is the last file to be written, and has a checksum of
// its own.
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

// Throws FileError when the directory has no manifest of that name, or one that is not as it was
// written.
Manifest read_manifest(const std::filesystem::path& directory, const char* name = kManifestFile);

// Returns the names in a directory that belong to a checkpoint and are as they were written: the
// proof that they are ours. None where the list is not there, or not as it was written. Reads the
// files that have changed since the list was written, be it by copying.
std::set<std::string> own_entries(const std::filesystem::path& directory);

}  // namespace halfback
