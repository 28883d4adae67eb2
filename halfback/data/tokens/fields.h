// Reads one object of a tokenizer's JSON completely: it refuses every unknown or unsupported key or
// value by name.
#pragma once

#include "halfback/base/error.h"
#include "halfback/base/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace halfback {

// A row of a table.
template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

// Returns the names of a table: "A, B or C".
template <typename Table>
std::string names_of(const Table& table) {
  std::string names;
  for (const auto& row : table) {
    names += &row == &table.front() ? "" : &row == &table.back() ? " or " : ", ";
    names += row.name;
  }
  return names;
}

class Fields {
 public:
  // `part` names the object in messages: "FILE: normalizer". The JSON must outlive this. Throws
  // FileError for JSON that is not an object.
  Fields(const nlohmann::json& json, std::string part) : json_(json), part_(std::move(part)) {
    if (!json.is_object()) {
      refuse(quote(json.dump()), "an object");
    }
    known_.insert("type");
  }

  const std::string& part() const { return part_; }
  std::string type() const { return json_.contains("type") ? read<std::string>("type") : ""; }

  // Returns the value of a key, or null.
  const nlohmann::json& find(const std::string& key) {
    static const nlohmann::json none;
    known_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() ? none : *found;
  }

  // Returns a value, or `otherwise` if it is missing or null.
  template <typename Value>
  Value get(const std::string& key, const std::optional<Value>& otherwise = std::nullopt) {
    return find(key).is_null() && otherwise ? *otherwise : read<Value>(key);
  }

  // Throws unless a value is missing, null or the supported one.
  void require(const std::string& key, const nlohmann::json& only) {
    if (const nlohmann::json& found = find(key); !found.is_null() && found != only) {
      refuse(fmt::format("{} {}", key, quote(found.dump())), only.dump());
    }
  }

  // Accepts keys that do not affect ids or text.
  void ignore(std::initializer_list<const char*> keys) { known_.insert(keys.begin(), keys.end()); }

  // Throws for a key that was not asked for.
  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (!known_.contains(key)) {
        refuse(fmt::format("{} {}", quote(key), quote(value.dump())), "none of that name");
      }
    }
  }

  [[noreturn]] void refuse(const std::string& found, const std::string& expected) const {
    throw FileError(
        fmt::format("{}: {} is not supported; expected {}; use a model with another tokenizer",
                    part_, found, expected));
  }

  // Returns the value of a table's row by its name. For an unknown name, throws FileError, which
  // lists them all; `what` says what is named.
  template <typename Table>
  const auto& choose(const std::string& what, std::string_view name, const Table& table) const {
    const auto row = std::ranges::find(table, name, &Table::value_type::name);
    if (row == table.end()) {
      refuse(fmt::format("{} {}", what, quote(name)), names_of(table));
    }
    return row->value;
  }

 private:
  template <typename Value>
  static bool is_of(const nlohmann::json& value) {
    if constexpr (std::is_same_v<Value, bool>) {
      return value.is_boolean();
    } else if constexpr (std::is_same_v<Value, std::string>) {
      return value.is_string();
    } else if constexpr (std::is_integral_v<Value>) {
      return value.is_number_integer() && value >= 0 && value < (std::int64_t{1} << 31);
    } else {
      return value.is_number();
    }
  }

  template <typename Value>
  Value read(const std::string& key) const {
    const auto found = json_.find(key);
    if (found == json_.end() || !is_of<Value>(*found)) {
      refuse(found == json_.end() ? "no " + key : fmt::format("{} {}", key, quote(found->dump())),
             std::is_same_v<Value, bool>          ? "true or false"
             : std::is_same_v<Value, std::string> ? "a text"
                                                  : "a number");
    }
    return found->template get<Value>();
  }

  const nlohmann::json& json_;
  std::string part_;
  std::set<std::string, std::less<>> known_;
};

// A row that maps a type's name to the function that builds that type.
template <typename Made, typename... More>
using Kind = Named<Made (*)(Fields& fields, More... more)>;

// Builds a part by its type; returns `none` for null. Throws FileError for keys that the builder
// did not ask for.
template <typename Made, typename Kinds>
Made read_part(const nlohmann::json& json, const std::string& part, Made none, const Kinds& kinds) {
  if (json.is_null()) {
    return none;
  }
  Fields fields(json, part);
  Made made = fields.choose("type", fields.type(), kinds)(fields);
  fields.finish();
  return made;
}

}  // namespace halfback
