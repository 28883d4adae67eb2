#include "halfback/base/safetensors_json.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <utility>

namespace halfback::detail {

namespace {

constexpr std::string_view kMetadataKey = "__metadata__";

// Returns the name of a value's kind, for messages.
std::string name_of(const nlohmann::json& value) {
  if (value.is_string()) {
    return fmt::format("the text {}", quote(value.get_ref<const std::string&>()));
  }
  if (value.is_number_float()) {
    return "a number that is not whole";
  }
  return value.is_boolean() ? "true or false" : value.dump();
}

// Receives the events of the JSON parser; an event that is not expected at its depth throws.
class HeaderReader {
 public:
  HeaderReader(std::string_view source, SafetensorsHeader& header)
      : source_(source), header_(header) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(std::vector<std::uint8_t>&) { wrong("binary data"); }
  bool start_object(std::size_t);
  bool key(std::string& name);
  bool end_object();

  bool start_array(std::size_t);
  bool end_array();
  bool parse_error(std::size_t position,
                   const std::string&,
                   const nlohmann::json::exception& error) {
    fail_safetensors(source_,
                     fmt::format("the header is not JSON at its byte {}: {}", position,
                                 json_reason(error.what())),
                     "expected an object of tensors");
  }

 private:
  bool add(nlohmann::json value);
  bool add_number(std::uint64_t value);
  [[noreturn]] void wrong(const std::string& found) const {
    fail_safetensors(source_, fmt::format("{} has {}", where(), found), expected());
  }
  std::string where() const;
  std::string_view expected() const;
  bool is_in_metadata() const { return name_ == kMetadataKey; }
  void add_field();

  std::string_view source_;
  SafetensorsHeader& header_;
  int depth_ = 0;      // 1 in the header, 2 in a tensor or the metadata, 3 in a list
  std::string name_;   // of the tensor
  std::string field_;  // of the tensor or the metadata
  TensorEntry entry_;
  std::vector<std::string> seen_fields_;
  std::vector<std::uint64_t> offsets_;
  bool has_metadata_ = false;
};

std::string HeaderReader::where() const {
  const std::string subject =
      is_in_metadata() ? std::string(kMetadataKey) : fmt::format("tensor {}", quote(name_));
  return field_.empty() ? subject : fmt::format("{}, {}", subject, quote(field_));
}

std::string_view HeaderReader::expected() const {
  if (depth_ < 3) {
    return depth_ == 1        ? "expected an object"
           : is_in_metadata() ? "expected a text for each key"
                              : "expected a text for dtype, a list of sizes for shape, two offsets "
                                "for data_offsets";
  }
  return field_ == "shape" ? "expected sizes from 0 to 2^63-1, at most 64 of them"
                           : "expected two offsets, begin and end";
}

bool HeaderReader::add_number(std::uint64_t value) {
  constexpr auto kMaxSize = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (field_ != "shape") {
    offsets_.push_back(value);
    return offsets_.size() <= 2;
  }
  entry_.shape.push_back(static_cast<std::int64_t>(value));
  return value <= kMaxSize && entry_.shape.size() <= kMaxTensorDimensions;
}

bool HeaderReader::add(nlohmann::json value) {
  const bool is_text = depth_ == 2 && value.is_string();
  if (is_text && is_in_metadata()) {
    if (!header_.metadata.emplace(field_, std::move(value)).second) {
      fail_safetensors(source_, fmt::format("{} has the key {} twice", kMetadataKey, quote(field_)),
                       "each may come once");
    }
  } else if (is_text && field_ == "dtype") {
    entry_.dtype = std::move(value.get_ref<std::string&>());
  } else if (depth_ != 3 || !value.is_number_unsigned() || !add_number(value)) {
    wrong(name_of(value));
  }
  return true;
}

bool HeaderReader::start_object(std::size_t) {
  if (depth_ > 1) {
    wrong("an object");
  }
  if (is_in_metadata() && std::exchange(has_metadata_, true)) {
    fail_safetensors(source_, fmt::format("{} comes twice", kMetadataKey), "it may come once");
  }
  entry_ = {.name = name_, .dtype = {}, .shape = {}};
  seen_fields_.clear();
  offsets_.clear();
  ++depth_;
  return true;
}

void HeaderReader::add_field() {
  const bool is_known = field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
  const bool is_seen =
      std::find(seen_fields_.begin(), seen_fields_.end(), field_) != seen_fields_.end();
  if (!is_known || is_seen) {
    fail_safetensors(source_,
                     fmt::format("tensor {} has the key {}{}", quote(name_), quote(field_),
                                 is_seen ? " twice" : ""),
                     "expected dtype, shape and data_offsets, once each");
  }
  seen_fields_.push_back(field_);
}

bool HeaderReader::key(std::string& name) {
  (depth_ == 1 ? name_ : field_) = std::move(name);
  if (depth_ == 2 && !is_in_metadata()) {
    add_field();
  }
  return true;
}

bool HeaderReader::end_object() {
  field_.clear();
  if (--depth_ == 1 && !is_in_metadata()) {
    if (seen_fields_.size() != 3) {
      fail_safetensors(source_,
                       fmt::format("{} has only [{}]", where(), fmt::join(seen_fields_, ", ")),
                       "expected dtype, shape and data_offsets");
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header_.tensors.push_back(std::move(entry_));
  }
  return true;
}

bool HeaderReader::start_array(std::size_t) {
  if (depth_ != 2 || is_in_metadata() || field_ == "dtype") {
    wrong("a list");
  }
  ++depth_;
  return true;
}

bool HeaderReader::end_array() {
  if (field_ == "data_offsets" && offsets_.size() != 2) {
    wrong(fmt::format("{} of them", offsets_.size()));
  }
  --depth_;
  return true;
}

}  // namespace

void fail_safetensors(std::string_view source, std::string_view found, std::string_view expected) {
  throw FileError(
      fmt::format("{}: {}; {}; the file is damaged or not safetensors: fetch or write it again",
                  source, found, expected));
}

void read_safetensors_json(std::string_view text,
                           std::string_view source,
                           SafetensorsHeader& header) {
  HeaderReader reader(source, header);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
}

}  // namespace halfback::detail
