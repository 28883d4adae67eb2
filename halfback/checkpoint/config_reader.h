// Reads a model's config.json. Refuses by name a value that is missing or of the wrong type, a
// feature that our model lacks, and an unknown key.
#pragma once

#include "halfback/base/error.h"
#include "halfback/base/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>

namespace halfback {

// The sequence length that a model was trained with, if not the usual one: as many as the model
// allows, at most 2048.
inline constexpr const char* kSequenceKey = "halfback_sequence";
void write_sequence(std::int64_t sequence, std::int64_t longest, nlohmann::json& json);

class ConfigReader {
 public:
  // `what` names the model in messages, as in "a LLaMA as Hugging Face writes it"; `source` is the
  // file. Both and the JSON must outlive this. Throws FileError for JSON that is not an object.
  ConfigReader(const nlohmann::json& json, const std::string& source, const char* what)
      : json_(json), source_(source), what_(what) {
    if (!json.is_object()) {
      refuse("no JSON object");
    }
  }

  // Reads one value, or `otherwise` if it is missing; null means that it is required.
  template <typename Value>
  Value read(const std::string& key, const nlohmann::json& otherwise = nullptr) const {
    known_.insert(key);
    const auto found = json_.find(key);
    const nlohmann::json value = found == json_.end() || found->is_null() ? otherwise : *found;
    if (value.is_null()) {
      refuse(fmt::format("no \"{}\"", key));
    }
    if (!is_of<Value>(value)) {
      refuse(fmt::format("\"{}\" is {}", key, quote(value.dump())));
    }
    return value.get<Value>();
  }

  // Throws unless the key is absent or has the only value that this model can have.
  void require(const std::string& key, const nlohmann::json& only) const {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found != json_.end() && !found->is_null() && *found != only) {
      refuse(fmt::format("\"{}\" is {}, and only {} is supported", key, quote(found->dump()),
                         only.dump()));
    }
  }

  std::int64_t read_sequence(std::int64_t longest) const;

  // Throws for an unknown key: one that was not read, is not among these, and is not one that all
  // models have and that leaves what a model computes unchanged. A feature that is switched off
  // (null, false, empty) may have any name.
  void require_known(std::initializer_list<std::string_view> keys) const;

  // Throws what check(config) throws, as an error of the file.
  template <typename Config>
  void require_possible(const Config& config) const {
    try {
      check(config);
    } catch (const ConfigError& error) {
      throw FileError(fmt::format("{}: {}", source_, error.what()));
    }
  }

  [[noreturn]] void refuse(const std::string& found) const {
    throw FileError(fmt::format("{}: {}; expected the config of {}; use such a checkpoint", source_,
                                found, what_));
  }

 private:
  // Whether a value has this type without conversion: 2.5 and true are not sizes.
  template <typename Value>
  static bool is_of(const nlohmann::json& value) {
    if constexpr (std::is_same_v<Value, std::int64_t>) {
      return value.is_number_integer();
    } else if constexpr (std::is_same_v<Value, double>) {
      return value.is_number();
    } else if constexpr (std::is_same_v<Value, bool>) {
      return value.is_boolean();
    } else {
      return value.is_string();
    }
  }

  const nlohmann::json& json_;
  const std::string& source_;
  const char* what_;
  mutable std::set<std::string> known_;  // the keys that were read
};

}  // namespace halfback
