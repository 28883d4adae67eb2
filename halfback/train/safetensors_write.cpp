#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/train/safetensors.h"
#include "halfback/train/safetensors_dtype.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <numeric>
#include <unordered_set>

namespace halfback {

namespace fs = std::filesystem;

namespace {

void check_names(const std::vector<NamedTensor>& tensors, const std::string& where) {
  std::unordered_set<std::string_view> seen;
  for (const NamedTensor& named : tensors) {
    if (named.name == "__metadata__" || !seen.insert(named.name).second) {
      throw FileError(fmt::format("{}: tensor name {} is taken; each needs its own name", where,
                                  quote(named.name)));
    }
  }
}

std::string_view format_dtype(const NamedTensor& named, const std::string& where) {
  const std::string_view dtype = detail::safetensors_dtype(named.tensor.scalar_type());
  if (dtype.empty()) {
    throw FileError(fmt::format("{}: tensor {} is {}, which safetensors has not; convert it", where,
                                quote(named.name), c10::toString(named.tensor.scalar_type())));
  }
  return dtype;
}

// Returns the tensors' places in the file: widest elements first, else as given.
std::vector<std::size_t> write_order(const std::vector<NamedTensor>& tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return tensors[a].tensor.element_size() > tensors[b].tensor.element_size();
  });
  return order;
}

std::vector<TensorEntry> layout(const std::vector<NamedTensor>& tensors, const std::string& where) {
  std::vector<TensorEntry> entries;
  std::uint64_t begin = 0;
  for (const std::size_t i : write_order(tensors)) {
    const auto& [name, tensor] = tensors[i];
    const std::uint64_t end = begin + tensor.nbytes();
    entries.push_back({.name = name,
                       .dtype = std::string(format_dtype(tensors[i], where)),
                       .shape = tensor.sizes().vec(),
                       .begin = begin,
                       .end = end});
    begin = end;
  }
  return entries;
}

void write_data(AtomicFile& file, const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous();
  file.write({static_cast<const char*>(plain.const_data_ptr()), plain.nbytes()});
}

// Splits in order, each part at most `max_bytes` or one tensor.
std::vector<std::vector<NamedTensor>> split_into_shards(const std::vector<NamedTensor>& tensors,
                                                        std::uint64_t max_bytes) {
  std::vector<std::vector<NamedTensor>> shards(1);
  std::uint64_t num_bytes = 0;
  for (const NamedTensor& named : tensors) {
    if (!shards.back().empty() && num_bytes + named.tensor.nbytes() > max_bytes) {
      shards.emplace_back();
      num_bytes = 0;
    }
    shards.back().push_back(named);
    num_bytes += named.tensor.nbytes();
  }
  return shards;
}

void check_no_earlier_files(const fs::path& directory, const std::string& basename) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(basename, 0) == 0 && name.find(".safetensors") != std::string::npos) {
      throw FileError(
          fmt::format("{}: holds {} already; expected no earlier files of this model; "
                      "write to a new directory",
                      directory.string(), name));
    }
  }
  if (error) {
    detail::fail_io(directory.string(), "read", error.value());
  }
}

}  // namespace

void save_safetensors(const fs::path& path,
                      const std::vector<NamedTensor>& tensors,
                      const SafetensorsMetadata& metadata) {
  check_names(tensors, path.string());
  const std::string header = write_safetensors_header(layout(tensors, path.string()), metadata);
  AtomicFile file(path);
  file.write(header);
  for (const std::size_t i : write_order(tensors)) {
    write_data(file, tensors[i].tensor);
  }
  file.commit();
}

void save_sharded(const fs::path& directory,
                  const std::string& basename,
                  const std::vector<NamedTensor>& tensors,
                  std::uint64_t max_shard_bytes) {
  check_names(tensors, directory.string());
  check_no_earlier_files(directory, basename);
  const auto shards = split_into_shards(tensors, max_shard_bytes);
  if (shards.size() == 1) {
    save_safetensors(directory / (basename + ".safetensors"), tensors);
    return;
  }
  std::uint64_t total_bytes = 0;
  nlohmann::json file_of = nlohmann::json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file =
        fmt::format("{}-{:05}-of-{:05}.safetensors", basename, i + 1, shards.size());
    save_safetensors(directory / file, shards[i]);
    for (const NamedTensor& named : shards[i]) {
      file_of[named.name] = file;
      total_bytes += named.tensor.nbytes();
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total_bytes}}},
                                {"weight_map", std::move(file_of)}};
  write_file_atomically(directory / (basename + ".safetensors.index.json"), index.dump(2) + "\n");
}

}  // namespace halfback
