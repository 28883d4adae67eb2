#include "halfback/checkpoint/safetensors_write.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/checkpoint/safetensors_dtype.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <numeric>
#include <unordered_set>
#include <utility>

namespace halfback {

namespace fs = std::filesystem;

namespace {

void check_names(const std::vector<NamedTensor>& tensors, const std::string& where) {
  std::unordered_set<std::string_view> seen;
  for (const NamedTensor& named : tensors) {
    if (named.name == "__metadata__" || !seen.insert(named.name).second) {
      throw FileError(
          fmt::format("{}: tensor name {} is taken; each needs its own name; rename one", where,
                      quote(named.name)));
    }
  }
}

at::ScalarType dtype_of(const NamedTensor& named) {
  return named.stored_as.value_or(named.tensor.scalar_type());
}

std::uint64_t bytes_of(const NamedTensor& named) {
  return static_cast<std::uint64_t>(named.tensor.numel()) * c10::elementSize(dtype_of(named));
}

std::string_view format_dtype(const NamedTensor& named, const std::string& where) {
  const std::string_view dtype = detail::safetensors_dtype(dtype_of(named));
  if (dtype.empty()) {
    throw FileError(fmt::format("{}: tensor {} is {}, which safetensors does not have; convert it",
                                where, quote(named.name), c10::toString(dtype_of(named))));
  }
  return dtype;
}

// Returns the tensors' places in the file: widest elements first, otherwise in the given order.
std::vector<std::size_t> write_order(const std::vector<NamedTensor>& tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return c10::elementSize(dtype_of(tensors[a])) > c10::elementSize(dtype_of(tensors[b]));
  });
  return order;
}

std::vector<TensorEntry> layout(const std::vector<NamedTensor>& tensors, const std::string& where) {
  std::vector<TensorEntry> entries;
  std::uint64_t begin = 0;
  for (const std::size_t i : write_order(tensors)) {
    const std::uint64_t end = begin + bytes_of(tensors[i]);
    entries.push_back({.name = tensors[i].name,
                       .dtype = std::string(format_dtype(tensors[i], where)),
                       .shape = tensors[i].tensor.sizes().vec(),
                       .begin = begin,
                       .end = end});
    begin = end;
  }
  return entries;
}

// Splits in order; each part has at most `max_bytes` or one tensor. No tensors give no part.
std::vector<std::vector<NamedTensor>> split_into_shards(const std::vector<NamedTensor>& tensors,
                                                        std::uint64_t max_bytes) {
  std::vector<std::vector<NamedTensor>> shards;
  std::uint64_t num_bytes = 0;
  for (const NamedTensor& named : tensors) {
    if (shards.empty() || num_bytes + bytes_of(named) > max_bytes) {
      shards.emplace_back();
      num_bytes = 0;
    }
    shards.back().push_back(named);
    num_bytes += bytes_of(named);
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

// What one process wrote of a set of tensors.
struct Written {
  FileSummaries files;
  std::map<std::string, std::string> file_of;  // by tensor
  std::uint64_t data_bytes = 0;
};

void to_json(nlohmann::json& json, const Written& written) {
  json = {{"files", nlohmann::json::object()},
          {"file_of", written.file_of},
          {"data_bytes", written.data_bytes}};
  for (const auto& [name, summary] : written.files) {
    json["files"][name] = {summary.bytes, summary.crc32};
  }
}

// Adds what another process wrote.
void add(Written& all, const nlohmann::json& json) {
  for (const auto& [name, summary] : json.at("files").items()) {
    all.files[name] = {summary.at(0).get<std::uint64_t>(), summary.at(1).get<std::uint32_t>()};
  }
  for (const auto& [name, file] : json.at("file_of").items()) {
    const auto [there, is_new] = all.file_of.emplace(name, file.get<std::string>());
    HALFBACK_CHECK(is_new, name + " is in " + there->second + " already");
  }
  all.data_bytes += json.at("data_bytes").get<std::uint64_t>();
}

// Which of all shards belong to this process.
struct Numbers {
  std::size_t first = 0;
  std::size_t total = 0;
};

Numbers numbers_of(const std::vector<nlohmann::json>& counts, int index) {
  Numbers numbers;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto count = counts[i].get<std::size_t>();
    numbers.first += i < static_cast<std::size_t>(index) ? count : 0;
    numbers.total += count;
  }
  return numbers;
}

std::string shard_name(const std::string& basename, std::size_t index, std::size_t total) {
  return total == 1 ? basename + ".safetensors"
                    : fmt::format("{}-{:05}-of-{:05}.safetensors", basename, index + 1, total);
}

std::string index_text(const Written& all) {
  const nlohmann::json index = {{"metadata", {{"total_size", all.data_bytes}}},
                                {"weight_map", all.file_of}};
  return index.dump(2) + "\n";
}

}  // namespace

FileSummary save_safetensors(const fs::path& path,
                             const std::vector<NamedTensor>& tensors,
                             const SafetensorsMetadata& metadata) {
  check_names(tensors, path.string());
  const std::string header = write_safetensors_header(layout(tensors, path.string()), metadata);
  FileSummary summary;
  AtomicFile file(path);
  const auto write = [&](std::string_view bytes) {
    file.write(bytes);
    summary.add(bytes);
  };
  write(header);
  for (const std::size_t i : write_order(tensors)) {
    const at::Tensor plain = tensors[i]
                                 .tensor.detach()
                                 .resolve_conj()
                                 .resolve_neg()
                                 .cpu()
                                 .to(dtype_of(tensors[i]))
                                 .contiguous();
    write({static_cast<const char*>(plain.const_data_ptr()), plain.nbytes()});
  }
  file.commit();
  return summary;
}

FileSummaries save_sharded(const fs::path& directory,
                           const std::string& basename,
                           const std::vector<NamedTensor>& tensors,
                           std::uint64_t max_shard_bytes,
                           const PeersPointer& peers) {
  const auto shards = split_into_shards(tensors, max_shard_bytes);
  const std::vector<nlohmann::json> counts = together(*peers, "the parts of " + basename, [&] {
    check_names(tensors, directory.string());
    check_no_earlier_files(directory, basename);
    return nlohmann::json(shards.size());
  });
  const Numbers numbers = numbers_of(counts, peers->index());
  const std::vector<nlohmann::json> parts = together(*peers, "the files of " + basename, [&] {
    Written mine;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string file = shard_name(basename, numbers.first + i, numbers.total);
      mine.files[file] = save_safetensors(directory / file, shards[i]);
      for (const NamedTensor& named : shards[i]) {
        mine.file_of[named.name] = file;
        mine.data_bytes += bytes_of(named);
      }
    }
    return nlohmann::json(mine);
  });
  Written all;
  for (const nlohmann::json& part : parts) {
    add(all, part);
  }
  if (numbers.total > 1) {
    const std::string file = basename + ".safetensors.index.json";
    const std::string text = index_text(all);
    together(*peers, "the index of " + basename, [&] {
      if (peers->is_first()) {
        write_file_atomically(directory / file, text);
      }
      return nlohmann::json();
    });
    all.files[file].add(text);
  }
  return std::move(all.files);
}

}  // namespace halfback
