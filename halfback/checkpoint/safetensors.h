// Tensors in safetensors files, as Hugging Face tools read and write them: one file, or a
// directory with `model.safetensors` or with shards and `model.safetensors.index.json`.
//
// The format's rules are checked in halfback/base/safetensors_header.h.
#pragma once

#include "halfback/base/safetensors_header.h"

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace halfback {

class MappedFile;

// One file, mapped for reading. Throws FileError like parse_safetensors_header().
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  // Returns the names in the order of the data.
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return index_.count(name) != 0; }
  const SafetensorsMetadata& metadata() const { return header_.metadata; }

  // Returns a CPU tensor that points into the mapping and keeps it alive. It must not be written to
  // (that ends the program): copy it into place. Throws FileError, with a suggestion, for a missing
  // name, and for a dtype that torch lacks.
  at::Tensor get(const std::string& name) const;

  // Like get(); also throws FileError if shape or dtype differ, showing both.
  at::Tensor expect(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const;

  // Like expect(), and also accepts other types that `dtype` can represent: F64, F32, F16 and BF16,
  // and for a single number, such as a count of batches, I64 and I32. They are not converted yet.
  at::Tensor expect_number(const std::string& name,
                           at::IntArrayRef shape,
                           at::ScalarType dtype) const;

 private:
  [[noreturn]] void fail_other(const TensorEntry& found,
                               at::IntArrayRef shape,
                               at::ScalarType dtype) const;
  const TensorEntry& entry(const std::string& name) const;

  std::string source_;
  std::shared_ptr<const MappedFile> file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string, std::size_t> index_;  // into header_.tensors
};

// The tensors of a directory: BASENAME.safetensors, else the files in the index beside it. File
// names in an index must not leave the directory.
class SafetensorsDirectory {
 public:
  explicit SafetensorsDirectory(const std::filesystem::path& directory,
                                const std::string& basename = "model");
  SafetensorsDirectory(SafetensorsDirectory&&) = default;
  SafetensorsDirectory& operator=(SafetensorsDirectory&&) = default;

  // Returns the names: in data order for one file, sorted for shards.
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return file_of_.count(name) != 0; }

  // Like SafetensorsFile.
  at::Tensor get(const std::string& name) const { return file(name).get(name); }
  at::Tensor expect(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const {
    return file(name).expect(name, shape, dtype);
  }
  at::Tensor expect_number(const std::string& name,
                           at::IntArrayRef shape,
                           at::ScalarType dtype) const {
    return file(name).expect_number(name, shape, dtype);
  }

 private:
  void read_index(const std::filesystem::path& path);
  void require_listed(const std::filesystem::path& index) const;
  const SafetensorsFile& file(const std::string& name) const;

  std::string source_;
  std::vector<std::string> names_;
  std::map<std::string, SafetensorsFile> files_;                     // by file name
  std::unordered_map<std::string, const SafetensorsFile*> file_of_;  // by tensor name
};

}  // namespace halfback
