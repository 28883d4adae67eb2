// The tensors of a checkpoint under the names that our model has for them. A file may have other
// ones: of an older release, of a wrapper around the model, of the inner model alone. What is in
// the file and not in the model is refused, for it would be another function without a word.
#pragma once

#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/models/model.h"

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace halfback {

// Whether the head (the tensors behind the last block that a task has of its own) is the
// checkpoint's, or a new one whatever the checkpoint holds.
enum class Head { Stored, New };

// Returns a model that has a new head: with as many outcomes as `like` has.
ModelConfig with_new_head(const ModelConfig& config, const ModelConfig& like);

class ModelTensors {
 public:
  // `config` is the checkpoint's. Throws FileError for a tensor that is missing, that the model
  // does not take, or that is there twice with different values (tied heads).
  ModelTensors(const std::filesystem::path& directory,
               const ModelConfig& config,
               Head head = Head::Stored);

  // Returns whether the checkpoint gives the model this tensor: all but those of a new head.
  bool contains(const std::string& name) const { return file_names_.count(name) != 0; }

  // Copies the values into `to`, converted to its type. Throws FileError for another shape and for
  // values that are not real numbers.
  void copy(const std::string& name, at::Tensor to) const;

  // The types that the values have in the file, by our names.
  std::map<std::string, at::ScalarType> dtypes() const;

  // What the model does not take and what does not change what it computes, such as the pooler of
  // a BERT: kept for the next checkpoint. The tensors look into the file and keep it open.
  const std::vector<NamedTensor>& others() const { return others_; }

  // What a user should know, a sentence each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  class Reader;

  SafetensorsDirectory files_;
  std::map<std::string, std::string> file_names_;  // by ours
  std::vector<NamedTensor> others_;
  std::vector<std::string> notes_;
};

}  // namespace halfback
