#include "cli/config.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/base/toml.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

namespace halfback::cli {

namespace {

constexpr std::string_view kConfig = "config";

bool is_flag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

bool is_path(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type == "FILE" || type == "DIR" || type == "PATH";
}

// Returns the long option of this name, or null.
const CLI::Option* find_option(const CLI::App& verb, std::string_view name) {
  return verb.get_option_no_throw("--" + std::string(name));
}

std::vector<std::string> option_names(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back(name);
    }
  }
  return names;
}

// Returns the option's name if an argument is "--name" or "--name=value".
std::optional<std::string_view> long_name(std::string_view argument) {
  if (argument.size() < 3 || argument.substr(0, 2) != "--") {
    return std::nullopt;
  }
  return argument.substr(2, argument.find('=') - 2);
}

const CLI::App& find_verb(const CLI::App& app, const std::string& name) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({})) {
    if (verb->get_name() == name) {
      return *verb;
    }
    names.push_back(verb->get_name());
  }
  throw ConfigError(fmt::format("unknown verb '{}'{}; known are {}", name.substr(0, 40),
                                suggestion(name.substr(0, 40), names), fmt::join(names, ", ")));
}

std::string to_text(const toml::node& node, const std::string& where) {
  if (const auto text = option_text(node)) {
    return *text;
  }
  throw ConfigError(
      fmt::format("{} has a date, a time or a table; expected a text, a number, true or false, or "
                  "a list of these",
                  where));
}

// Returns the file's options as arguments, except those given on the command line.
std::vector<std::string> read_config(const CLI::App& verb,
                                     const std::string& file,
                                     const std::vector<std::string_view>& given) {
  const toml::table table = read_toml(file, "configuration file");
  std::vector<std::string> arguments;
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const std::string where = fmt::format("{}:{}: option", file, node.source().begin.line);
    check_option(verb, name, where);
    if (name == kConfig || name == "help") {
      throw ConfigError(
          fmt::format("{} '{}' belongs on the command line; take it out of the file", where, name));
    }
    if (std::find(given.begin(), given.end(), name) != given.end()) {
      continue;
    }
    const std::string what = fmt::format("{} '{}'", where, name);
    std::vector<std::string> values;
    if (const toml::array* list = node.as_array()) {
      for (const toml::node& item : *list) {
        values.push_back(to_text(item, what));
      }
    } else {
      values.push_back(to_text(node, what));
    }
    // Of several values, an option that takes one would keep the last: its text holds the list.
    if (find_option(verb, name)->get_expected_max() == 1) {
      values = {fmt::format("{}", fmt::join(values, ","))};
    }
    for (const std::string& value : values) {
      arguments.push_back(fmt::format("--{}={}", name, value));
    }
  }
  return arguments;
}

// Whether a value can be written without quotes and is read as the same text.
bool is_plain(const CLI::Option& option, const std::string& value) {
  if (const auto integer = parse_integer(value)) {
    return std::to_string(*integer) == value;
  }
  if (const auto number = parse_number(value)) {
    return value.find('.') != std::string::npos && fmt::format("{}", *number) == value;
  }
  return is_flag(option) && (value == "true" || value == "false");
}

std::string to_toml_value(const CLI::Option& option, const std::string& value) {
  if (is_plain(option, value)) {
    return value;
  }
  std::string text = "\"";
  for (const char c : value) {
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0) {
      text += fmt::format("\\u{:04x}", c);
      continue;
    }
    if (c == '"' || c == '\\') {
      text += '\\';
    }
    text += c;
  }
  return text + '"';
}

std::vector<std::string> effective_values(const CLI::Option& option) {
  if (option.count() > 0) {
    return option.results();
  }
  if (is_flag(option)) {
    return {"false"};
  }
  const std::string value = option.get_default_str();
  return value.empty() ? std::vector<std::string>{} : std::vector<std::string>{value};
}

}  // namespace

void check_option(const CLI::App& verb, std::string_view name, const std::string& where) {
  if (find_option(verb, name) == nullptr) {
    std::vector<std::string> names = option_names(verb);
    throw ConfigError(fmt::format("{} '{}' of {}{}; 'halfback {} --help' lists them", where,
                                  name.substr(0, 40), verb.get_name(),
                                  suggestion(name.substr(0, 40), names), verb.get_name()));
  }
}

void add_config_options(CLI::App& app) {
  for (CLI::App* verb : app.get_subcommands({})) {
    verb->add_option("--config", "TOML file with options; the command line wins")
        ->type_name("FILE");
    for (CLI::Option* option : verb->get_options()) {
      if (option->get_expected_max() == 1) {
        option->take_last();
      }
      if (is_path(*option)) {
        option->check([](const std::string& path) {
          return path.empty() ? "is empty; expected a path (is a variable not set?)" : "";
        });
      }
    }
  }
}

std::vector<std::string> expand_config(const CLI::App& app,
                                       const std::vector<std::string>& arguments) {
  const auto verb_at = std::find_if(arguments.begin(), arguments.end(), [](const auto& argument) {
    return argument.empty() || argument.front() != '-';
  });
  if (verb_at == arguments.end()) {
    return arguments;
  }
  const CLI::App& verb = find_verb(app, *verb_at);
  std::vector<std::string_view> given;
  std::string file;
  for (auto argument = verb_at + 1; argument != arguments.end() && *argument != "--"; ++argument) {
    const std::optional<std::string_view> name = long_name(*argument);
    if (!name) {
      continue;
    }
    check_option(verb, *name, "unknown option");
    given.push_back(*name);
    if (*name == kConfig) {
      const std::size_t equals = argument->find('=');
      const bool has_next = argument + 1 != arguments.end();
      file = equals != std::string::npos ? argument->substr(equals + 1)
             : has_next                  ? *(argument + 1)
                                         : std::string{};
    }
  }
  std::vector<std::string> result(arguments.begin(), verb_at + 1);
  if (!file.empty()) {
    const std::vector<std::string> from_file = read_config(verb, file, given);
    result.insert(result.end(), from_file.begin(), from_file.end());
  }
  result.insert(result.end(), verb_at + 1, arguments.end());
  return result;
}

std::string to_toml(const CLI::App& verb) {
  std::string text;
  for (const CLI::Option* option : verb.get_options()) {
    const std::vector<std::string> names = option->get_lnames();
    if (names.empty() || names.front() == kConfig || names.front() == "help") {
      continue;
    }
    std::vector<std::string> values = effective_values(*option);
    const bool is_list = option->get_expected_max() > 1;
    if (values.empty()) {
      continue;
    }
    for (std::string& value : values) {
      value = to_toml_value(*option, value);
    }
    text += is_list ? fmt::format("{} = [{}]\n", names.front(), fmt::join(values, ", "))
                    : fmt::format("{} = {}\n", names.front(), values.back());
  }
  return text;
}

}  // namespace halfback::cli
