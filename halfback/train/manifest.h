// checkpoint.json: what belongs to a checkpoint, so that one that is torn or altered is told from
// one that is whole. It is the last file to be written, and has a checksum of its own.
#pragma once

#include "halfback/train/checksum.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace halfback {

struct Manifest {
  std::int64_t step = 0;
  FileSummaries files;  // all but the manifest
};

std::string to_text(const Manifest& manifest);

// Throws FileError when the directory has no manifest, or one that is not as it was written.
Manifest read_manifest(const std::filesystem::path& directory);

}  // namespace halfback
