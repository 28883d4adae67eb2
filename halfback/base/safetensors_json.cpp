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

enum class Place { Start, Header, Metadata, Tensor, Shape, Offsets, End };

std::string_view expected_at(Place place) {
  switch (place) {
    case Place::Start:
      return "expected an object of tensors";
    case Place::Header:
      return "expected an object";
    case Place::Metadata:
      return "expected a text for each key";
    case Place::Tensor:
      return "expected a text for dtype, a list of sizes for shape, two offsets for data_offsets";
    case Place::Shape:
      return "expected sizes from 0 to 2^63-1, at most 64 of them";
    default:
      return "expected two offsets, begin and end";
  }
}

// Receives the events of the JSON parser; anything that is not expected at its place throws.
class HeaderReader {
 public:
  HeaderReader(std::string_view source, SafetensorsHeader& header)
      : source_(source), header_(header) {}

  bool null() { wrong("null"); }
  bool boolean(bool) { wrong("true or false"); }
  bool number_integer(std::int64_t value) { wrong(fmt::format("{}", value)); }
  bool number_float(double, const std::string&) { wrong("a number that is not whole"); }
  bool binary(std::vector<std::uint8_t>&) { wrong("binary data"); }
  bool number_unsigned(std::uint64_t value);
  bool string(std::string& value);
  bool start_object(std::size_t);
  bool key(std::string& name);
  bool end_object();
  bool start_array(std::size_t);
  bool end_array();
  bool parse_error(std::size_t position,
                   const std::string& last_token,
                   const nlohmann::json::exception& error);

 private:
  [[noreturn]] void wrong(const std::string& found) const;
  std::string where() const;
  void start_tensor();
  void check_field() const;

  std::string_view source_;
  SafetensorsHeader& header_;
  Place place_ = Place::Start;
  std::string name_;   // of the tensor
  std::string field_;  // of the tensor or the metadata
  TensorEntry entry_;
  std::vector<std::string> seen_fields_;
  std::vector<std::uint64_t> offsets_;
  bool has_metadata_ = false;
};

std::string HeaderReader::where() const {
  if (place_ == Place::Start) {
    return "the header";
  }
  const std::string subject =
      name_ == kMetadataKey ? std::string(kMetadataKey) : fmt::format("tensor {}", quote(name_));
  return field_.empty() ? subject : fmt::format("{}, {}", subject, quote(field_));
}

void HeaderReader::wrong(const std::string& found) const {
  fail_safetensors(source_, fmt::format("{} has {}", where(), found), expected_at(place_));
}

bool HeaderReader::number_unsigned(std::uint64_t value) {
  constexpr auto kMaxSize = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (place_ == Place::Shape && value <= kMaxSize && entry_.shape.size() < kMaxTensorDimensions) {
    entry_.shape.push_back(static_cast<std::int64_t>(value));
  } else if (place_ == Place::Offsets && offsets_.size() < 2) {
    offsets_.push_back(value);
  } else {
    wrong(fmt::format("{}", value));
  }
  return true;
}

bool HeaderReader::string(std::string& value) {
  if (place_ == Place::Metadata) {
    if (!header_.metadata.emplace(field_, std::move(value)).second) {
      fail_safetensors(source_, fmt::format("{} has the key {} twice", kMetadataKey, quote(field_)),
                       "each may come once");
    }
  } else if (place_ == Place::Tensor && field_ == "dtype") {
    entry_.dtype = std::move(value);
  } else {
    wrong(fmt::format("the text {}", quote(value)));
  }
  return true;
}

void HeaderReader::start_tensor() {
  entry_ = TensorEntry{.name = name_, .dtype = {}, .shape = {}};
  seen_fields_.clear();
  offsets_.clear();
  place_ = Place::Tensor;
}

bool HeaderReader::start_object(std::size_t) {
  if (place_ == Place::Start) {
    place_ = Place::Header;
  } else if (place_ != Place::Header) {
    wrong("an object");
  } else if (name_ != kMetadataKey) {
    start_tensor();
  } else if (std::exchange(has_metadata_, true)) {
    fail_safetensors(source_, fmt::format("{} comes twice", kMetadataKey), "it may come once");
  } else {
    place_ = Place::Metadata;
  }
  return true;
}

void HeaderReader::check_field() const {
  const bool is_known = field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
  const bool is_seen =
      std::find(seen_fields_.begin(), seen_fields_.end(), field_) != seen_fields_.end();
  if (!is_known || is_seen) {
    fail_safetensors(source_,
                     fmt::format("tensor {} has the key {}{}", quote(name_), quote(field_),
                                 is_seen ? " twice" : ""),
                     "expected dtype, shape and data_offsets, once each");
  }
}

bool HeaderReader::key(std::string& name) {
  if (place_ == Place::Header) {
    name_ = std::move(name);
    return true;
  }
  field_ = std::move(name);
  if (place_ == Place::Tensor) {
    check_field();
    seen_fields_.push_back(field_);
  }
  return true;
}

bool HeaderReader::end_object() {
  field_.clear();
  if (place_ == Place::Tensor) {
    if (seen_fields_.size() != 3) {
      fail_safetensors(source_,
                       fmt::format("{} has only [{}]", where(), fmt::join(seen_fields_, ", ")),
                       "expected dtype, shape and data_offsets");
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header_.tensors.push_back(std::move(entry_));
  }
  place_ = place_ == Place::Header ? Place::End : Place::Header;
  return true;
}

bool HeaderReader::start_array(std::size_t) {
  if (place_ != Place::Tensor || field_ == "dtype") {
    wrong("a list");
  }
  place_ = field_ == "shape" ? Place::Shape : Place::Offsets;
  return true;
}

bool HeaderReader::end_array() {
  if (place_ == Place::Offsets && offsets_.size() != 2) {
    wrong(fmt::format("{} of them", offsets_.size()));
  }
  place_ = Place::Tensor;
  return true;
}

bool HeaderReader::parse_error(std::size_t position,
                               const std::string& /*last_token*/,
                               const nlohmann::json::exception& error) {
  fail_safetensors(
      source_,
      fmt::format("the header is not JSON at its byte {}: {}", position, json_reason(error.what())),
      "expected an object of tensors");
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
