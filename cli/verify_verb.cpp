// halfback verify FILE: checks a schedule file and says what it is.
#include "cli/options.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/validate.h"
#include "halfback/views/findings.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback::cli {

namespace {

struct Options {
  std::string file;
  std::string channel = "buffered";
  std::string reader;  // "" or "torch"
  std::optional<double> activation_limit;
  bool json = false;
};

struct Findings {
  Schedule schedule;
  ChannelRule channel;
  ChannelFindings channels;  // with the messages added that it may lack
  std::optional<TorchFindings> torch;
};

// Returns the schedule with messages, validated under the channel rule.
Schedule validated(const Options& options, const Schedule& schedule, ChannelRule channel) {
  validate(
      schedule,
      {.channel = channel, .where = options.file, .activation_limit = options.activation_limit});
  return with_messages(schedule, channel);
}

Findings verify(const Options& options) {
  if (!options.reader.empty()) {
    require_choice("--for", options.reader, {"torch"});
  }
  const std::string text = read_schedule_text(options.file);
  Findings findings{.schedule = parse_schedule(text, options.file),
                    .channel = parse_channel_rule(options.channel)};
  findings.channels = find_channels(validated(options, findings.schedule, findings.channel));
  if (options.reader == "torch") {
    findings.torch = find_for_torch(findings.schedule, text);
  }
  return findings;
}

std::string describe_capacity(std::optional<int> smallest) {
  if (!smallest) {
    return "none: receives stand too early, and only streams let it run";
  }
  return *smallest == 0 ? "0 (rendezvous)" : fmt::format("{}", *smallest);
}

void print_torch(const TorchFindings& torch) {
  std::cout << fmt::format("\ntorch.distributed.pipelining 2.13: {}\n",
                           torch.faults.empty() ? "runs it" : "does not run it as it should");
  for (const TorchFinding& fault : torch.faults) {
    std::cout << fmt::format("  {}: {}\n", name_of(fault.kind), fault.text);
  }
  std::cout << fmt::format(
      "  step for F = I = W = 1: {:.6g}; there {:.6g}, since stage 0 does all at its W\n",
      torch.step, torch.step_there);
}

void print_text(const Options& options, const Findings& findings) {
  const Schedule& schedule = findings.schedule;
  const auto print = [](const char* what, const auto& value) {
    std::cout << fmt::format("  {:<27}{}\n", what, value);
  };
  std::cout << fmt::format("{}: valid\n", options.file);
  print("ranks", schedule.num_ranks());
  print("stages", schedule.num_stages());
  print("micro-batches", schedule.num_micro_batches);
  if (schedule.placement.num_replicas() > 1) {
    print("replicas",
          fmt::format("{}, reduced {}", schedule.placement.num_replicas(),
                      has_reductions(schedule) ? "where the lists say" : "after the last action"));
  }
  print("actions", num_actions(schedule));
  print("split backward", is_two_stage(schedule) ? "yes" : "no");
  print("messages", has_messages(schedule)
                        ? fmt::format("{}", count_sends(schedule))
                        : fmt::format("none in the file; here as added for the rule {}",
                                      to_string(findings.channel)));
  print("channels checked", to_string(findings.channel));
  print("smallest channel capacity", describe_capacity(findings.channels.smallest_capacity));
  print("runs under nccl, nccl-pair",
        fmt::format("{}, {}", findings.channels.runs_nccl ? "yes" : "no",
                    findings.channels.runs_nccl_pair ? "yes" : "no"));
  if (!schedule.losses.is_backprop()) {
    print("losses and their reach", brief_losses(schedule.losses));
    print("weights take", to_string(schedule.losses.weight_rule()));
  }
  print("updates", has_updates(schedule) ? "each stage after its own weight gradients"
                                         : "all stages after the last action");
  print("most activations held", fmt::format("{:.6g} M_B", most_activations_held(schedule)));
  print("weight gradients ascend",
        weight_gradients_ascend(schedule) ? "yes" : "no: gradients equal to rounding only");
  if (findings.torch) {
    print_torch(*findings.torch);
  }
}

void print_json(const Options& options, const Findings& findings) {
  const Schedule& schedule = findings.schedule;
  nlohmann::json document = {
      {"file", options.file},
      {"valid", true},
      {"name", schedule.name},
      {"ranks", schedule.num_ranks()},
      {"stages", schedule.num_stages()},
      {"micro_batches", schedule.num_micro_batches},
      {"replicas", schedule.placement.num_replicas()},
      {"actions", num_actions(schedule)},
      {"two_stage", is_two_stage(schedule)},
      {"losses", losses_text(schedule.losses)},
      {"weights", to_string(schedule.losses.weight_rule())},
      {"stage_updates", has_updates(schedule)},
      {"messages", count_sends(schedule)},
      {"channel", to_string(findings.channel)},
      {"activation_peak", most_activations_held(schedule)},
      {"runs_under_nccl", findings.channels.runs_nccl},
      {"runs_under_nccl_pair", findings.channels.runs_nccl_pair},
      {"weight_gradients_ascend", weight_gradients_ascend(schedule)},
  };
  document["smallest_channel_capacity"] = nullptr;
  if (const auto smallest = findings.channels.smallest_capacity) {
    document["smallest_channel_capacity"] = *smallest;
  }
  if (findings.torch) {
    nlohmann::json faults = nlohmann::json::array();
    for (const TorchFinding& fault : findings.torch->faults) {
      faults.push_back({{"kind", name_of(fault.kind)}, {"text", fault.text}});
    }
    document["torch"] = {{"faults", std::move(faults)},
                         {"step", findings.torch->step},
                         {"step_there", findings.torch->step_there}};
  }
  std::cout << document.dump(2) << '\n';
}

// Prints the invalid file for programs: whoever asked for JSON parses this too.
void print_json(const Options& options, const ScheduleError& error) {
  nlohmann::json document = {{"file", options.file}, {"valid", false}, {"error", error.what()}};
  if (const auto& place = error.place()) {
    document["rank"] = place->rank;
    document["position"] = place->position;
    document["action"] = place->action;
  }
  std::cout << document.dump(2) << '\n';
}

Findings verify_or_say(const Options& options) {
  try {
    return verify(options);
  } catch (const ScheduleError& error) {
    if (options.json) {
      print_json(options, error);
    }
    throw;
  }
}

}  // namespace

void add_verify_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("verify", "Check a schedule file, ours or PyTorch's");
  const auto options = std::make_shared<Options>();
  add_option(*verb, "file", options->file, "FILE", "CSV file, with or without messages")
      ->required();
  add_option(*verb, "--channel", options->channel, "RULE",
             "How messages pass: buffered (sends never wait), rendezvous (a send waits for its "
             "receive), a number of messages that a channel holds, nccl (posted to a stream "
             "for each pair and direction), or nccl-pair (a stream for each pair)");
  add_option(*verb, "--for", options->reader, "torch",
             "Also check how another program runs the file: torch, the schedule runtime of "
             "PyTorch; exits with 1 if it refuses the file or runs it wrongly");
  add_option(*verb, "--activation-limit", options->activation_limit, "M_B",
             "Largest memory that a rank may hold until W; unit: one micro-batch on 1/N of the "
             "model with N ranks");
  verb->add_flag("--json", options->json, "Print JSON, even for an invalid file");
  verb->footer("Example: halfback verify plan.csv --channel nccl-pair");
  verb->callback([options] {
    const Findings findings = verify_or_say(*options);
    options->json ? print_json(*options, findings) : print_text(*options, findings);
    if (findings.torch && !findings.torch->faults.empty()) {
      throw Exit{1};
    }
  });
}

}  // namespace halfback::cli
