#include "halfback/checkpoint/safetensors.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/json.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/safetensors_dtype.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

namespace halfback {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_missing(const std::string& source,
                               const std::string& name,
                               const std::vector<std::string>& names) {
  throw FileError(
      fmt::format("{}: has no tensor {}{}; it holds {} tensors; check that the file "
                  "belongs to this model",
                  source, quote(name), suggestion(name, names), names.size()));
}

std::string describe(at::IntArrayRef shape, std::string_view dtype) {
  return fmt::format("{} [{}]", dtype, fmt::join(shape.begin(), shape.end(), ", "));
}

// A byte other than 0 or 1 in a bool is undefined behavior for its readers.
void check_bools(std::string_view bytes, const std::string& where) {
  const auto wrong = std::find_if(bytes.begin(), bytes.end(),
                                  [](char byte) { return static_cast<unsigned char>(byte) > 1; });
  if (wrong != bytes.end()) {
    throw FileError(fmt::format("{}: BOOL element {} is {}; expected 0 or 1; write the file again",
                                where, wrong - bytes.begin(), static_cast<unsigned char>(*wrong)));
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& path)
    : source_(path.string()),
      file_(std::make_shared<const MappedFile>(path)),
      header_(parse_safetensors_header(file_->bytes(), file_->bytes().size(), source_)) {
  index_.reserve(header_.tensors.size());
  for (std::size_t i = 0; i < header_.tensors.size(); ++i) {
    index_.emplace(header_.tensors[i].name, i);
  }
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  names.reserve(header_.tensors.size());
  for (const TensorEntry& entry : header_.tensors) {
    names.push_back(entry.name);
  }
  return names;
}

const TensorEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    fail_missing(source_, name, names());
  }
  return header_.tensors[found->second];
}

at::Tensor SafetensorsFile::get(const std::string& name) const {
  const TensorEntry& found = entry(name);
  const auto dtype = detail::torch_dtype(found.dtype);
  if (!dtype) {
    throw FileError(fmt::format("{}: tensor {} is {}, which torch does not have; convert the file",
                                source_, quote(name), found.dtype));
  }
  const std::string_view bytes =
      file_->bytes().substr(header_.data_begin + found.begin, found.end - found.begin);
  if (*dtype == at::kBool) {
    check_bools(bytes, fmt::format("{}: tensor {}", source_, quote(name)));
  }
  const auto options = at::TensorOptions().dtype(*dtype);
  const bool is_aligned =
      reinterpret_cast<std::uintptr_t>(bytes.data()) % c10::elementSize(*dtype) == 0;
  if (bytes.empty() || !is_aligned) {
    at::Tensor copy = at::empty(found.shape, options);
    if (!bytes.empty()) {
      std::memcpy(copy.mutable_data_ptr(), bytes.data(), bytes.size());
    }
    return copy;
  }
  return at::from_blob(
      const_cast<char*>(bytes.data()), found.shape, [file = file_](void*) {}, options);
}

void SafetensorsFile::fail_other(const TensorEntry& found,
                                 at::IntArrayRef shape,
                                 at::ScalarType dtype) const {
  throw FileError(
      fmt::format("{}: tensor {} is {}; expected {}; check that the file belongs to this model",
                  source_, quote(found.name), describe(found.shape, found.dtype),
                  describe(shape, detail::safetensors_dtype(dtype))));
}

at::Tensor SafetensorsFile::expect(const std::string& name,
                                   at::IntArrayRef shape,
                                   at::ScalarType dtype) const {
  const TensorEntry& found = entry(name);
  if (at::IntArrayRef(found.shape) != shape || found.dtype != detail::safetensors_dtype(dtype)) {
    fail_other(found, shape, dtype);
  }
  return get(name);
}

at::Tensor SafetensorsFile::expect_number(const std::string& name,
                                          at::IntArrayRef shape,
                                          at::ScalarType dtype) const {
  constexpr std::array<std::string_view, 6> kNumbers = {"F64", "F32", "F16", "BF16", "I64", "I32"};
  constexpr std::ptrdiff_t kNumFloats = 4;
  const TensorEntry& found = entry(name);
  const auto end = shape.empty() ? kNumbers.end() : kNumbers.begin() + kNumFloats;
  const bool is_number = std::find(kNumbers.begin(), end, found.dtype) != end;
  if (at::IntArrayRef(found.shape) != shape || !is_number) {
    fail_other(found, shape, dtype);
  }
  return get(name);
}

SafetensorsDirectory::SafetensorsDirectory(const fs::path& directory, const std::string& basename)
    : source_(directory.string()) {
  const std::string single = basename + ".safetensors";
  const fs::path index = directory / (single + ".index.json");
  std::error_code ignored;
  if (fs::exists(directory / single, ignored)) {
    const SafetensorsFile& file = files_.emplace(single, directory / single).first->second;
    names_ = file.names();
    for (const std::string& name : names_) {
      file_of_.emplace(name, &file);
    }
  } else if (fs::exists(index, ignored)) {
    read_index(index);
  } else {
    throw FileError(
        fmt::format("{}: has neither {} nor {}; expected a model in safetensors form; "
                    "check the path",
                    source_, single, index.filename().string()));
  }
}

void SafetensorsDirectory::read_index(const fs::path& path) {
  const nlohmann::json index =
      parse_json(read_file(path, kMaxSafetensorsHeaderBytes), path.string());
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw FileError(
        fmt::format("{}: has no weight_map; expected an object of tensor and file "
                    "names; fetch the file again",
                    path.string()));
  }
  for (const auto& [name, value] : index["weight_map"].items()) {
    if (!value.is_string() || !is_file_name(value.get_ref<const std::string&>())) {
      throw FileError(
          fmt::format("{}: tensor {} lies in {}; expected the name of a file in the "
                      "same directory; fetch the file again",
                      path.string(), quote(name), quote(value.dump())));
    }
    const auto& file_name = value.get_ref<const std::string&>();
    auto found = files_.find(file_name);
    if (found == files_.end()) {
      found = files_.emplace(file_name, path.parent_path() / file_name).first;
    }
    if (!found->second.contains(name)) {
      throw FileError(
          fmt::format("{}: tensor {} should be in {}, which does not contain it; fetch both again",
                      path.string(), quote(name), quote(file_name)));
    }
    names_.push_back(name);
    file_of_.emplace(name, &found->second);
  }
  require_listed(path);
}

void SafetensorsDirectory::require_listed(const fs::path& index) const {
  for (const auto& [file_name, file] : files_) {
    for (const std::string& name : file.names()) {
      const auto listed = file_of_.find(name);
      if (listed == file_of_.end() || listed->second != &file) {
        throw FileError(fmt::format(
            "{}: tensor {} lies in {} and is listed {}; expected every tensor in the one file that "
            "the index lists it in; fetch all files again, or take the tensor out there",
            index.string(), quote(name), quote(file_name),
            listed == file_of_.end() ? "in none" : "in another"));
      }
    }
  }
}

std::vector<std::string> SafetensorsDirectory::names() const { return names_; }

const SafetensorsFile& SafetensorsDirectory::file(const std::string& name) const {
  const auto found = file_of_.find(name);
  if (found == file_of_.end()) {
    fail_missing(source_, name, names_);
  }
  return *found->second;
}

}  // namespace halfback
