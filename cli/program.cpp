#include "cli/program.h"

#include "cli/config.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"

#include <CLI/CLI.hpp>
#include <c10/util/Exception.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <iostream>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

int fail(const std::string& what, int exit_code) {
  std::cerr << "error: " << what << (what.ends_with('\n') ? "" : "\n");
  return exit_code;
}

// Help and version are not errors; everything else that the parser throws is a usage error.
int report(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    return app.exit(error);
  }
  return fail(std::string(error.what()) + "; see 'halfback --help' or 'halfback VERB --help'", 2);
}

// A pipe whose reader has gone, as in "halfback schedule ... | head", needs no message.
bool reader_is_gone() {
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  return poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

int run(CLI::App& app, const std::vector<std::string>& arguments) {
  try {
    std::vector<std::string> expanded = halfback::cli::expand_config(app, arguments);
    std::reverse(expanded.begin(), expanded.end());  // parse() takes them in this order
    app.parse(expanded);
  } catch (const CLI::ParseError& error) {
    return report(app, error);
  } catch (const halfback::cli::Exit& exit) {
    return exit.code;
  } catch (const halfback::ConfigError& error) {
    return fail(error.what(), 2);
  } catch (const c10::Error& error) {
    return fail(error.what_without_backtrace(), 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
  return 0;
}

}  // namespace

int halfback::cli::run_program(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is a write error, not a crash
  CLI::App app(
      "Trains deep networks over pipeline stages. A schedule is a file that is verified, simulated "
      "and run.",
      "halfback");
  app.set_version_flag("--version", "halfback " HALFBACK_VERSION);
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  halfback::cli::add_schedule_verb(app);
  halfback::cli::add_verify_verb(app);
  halfback::cli::add_simulate_verb(app);
  halfback::cli::add_train_verb(app);
  halfback::cli::add_compare_verb(app);
  halfback::cli::add_profile_verb(app);
  halfback::cli::add_generate_verb(app);
  halfback::cli::add_study_verb(app);
  halfback::cli::add_config_options(app);
  const int exit_code = run(app, {argv + 1, argv + argc});
  if (!std::cout.flush() && exit_code == 0) {
    return reader_is_gone() ? 1 : fail("standard output cannot be written", 1);
  }
  return exit_code;
}
