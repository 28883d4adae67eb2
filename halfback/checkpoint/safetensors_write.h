// Writes tensors into safetensors files (safetensors.h): one file, or shards with an index.
#pragma once

#include "halfback/base/safetensors_header.h"
#include "halfback/checkpoint/checksum.h"
#include "halfback/checkpoint/peers.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
  std::optional<at::ScalarType> stored_as = {};  // converted while writing
};

// Writes the tensors, completely or not at all, and returns what the file contains. Any device and
// strides; at most one tensor is copied at a time. Tensors of wider elements come first so that all
// are aligned; otherwise the order is kept. Throws FileError for a repeated name, a dtype that the
// format lacks, and a failed write. Hugging Face tools require the metadata {"format": "pt"}.
FileSummary save_safetensors(const std::filesystem::path& path,
                             const std::vector<NamedTensor>& tensors,
                             const SafetensorsMetadata& metadata = {{"format", "pt"}});

// Writes BASENAME.safetensors, or, if the data takes more than `max_shard_bytes`, shards
// BASENAME-00001-of-0000N.safetensors filled in the given order and
// BASENAME.safetensors.index.json. A tensor above the limit has a shard of its own. The directory
// must exist and contain no such files. Returns all files.
//
// With peers, which must all call it, each writes shards of the tensors that it gives, all at the
// same time; only one may give a tensor. If one fails, all throw its error.
FileSummaries save_sharded(const std::filesystem::path& directory,
                           const std::string& basename,
                           const std::vector<NamedTensor>& tensors,
                           std::uint64_t max_shard_bytes,
                           const PeersPointer& peers = alone());

}  // namespace halfback
