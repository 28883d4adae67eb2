// Reads which process of how many this is, and where they meet, from the environment that the
// launcher has set. The first of these that is set counts:
//
//   our own      HALFBACK_PROCESS, HALFBACK_PROCESSES, HALFBACK_STORE=host:port, HALFBACK_RESTART;
//                the launcher serves the store
//   torchrun     RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, LOCAL_RANK, LOCAL_WORLD_SIZE, or these
//                set by hand; torchrun serves the store if TORCHELASTIC_USE_AGENT_STORE=True
//   Open MPI     OMPI_COMM_WORLD_RANK and so on          both: MASTER_ADDR where there are several
//   MPICH        PMI_RANK and so on                      hosts, else loopback
//   Slurm        SLURM_PROCID, SLURM_STEP_NUM_TASKS or else SLURM_NTASKS, in an srun step; the
//                first host of the step serves the store, at a port that depends on the job's
//                number; a step of one task, a batch script and salloc's shell are single processes
//
// Without any of them, this is a single process.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace halfback {

struct World {
  int index = 0;  // of this process
  int count = 1;
  std::string launcher;  // a name for messages; empty for a single process
  std::string store_host;
  int store_port = 0;
  bool is_store_served = false;  // by the launcher; else process 0 serves it
  int restart = 0;               // how often the launcher has restarted all processes
  int local_count = 1;           // processes on this host; 0 if unknown

  bool is_on_one_host() const { return count == 1 || local_count == count; }
  bool is_of_own_launcher() const { return launcher == "halfback"; }
};

// Looks up a variable. Empty values count as not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// Throws ConfigError naming the variables if some are missing or contradict each other.
World detect_world(const Environment& environment);

// Returns the world of this process.
World detect_world();

// Returns the first host of Slurm's compressed list, such as "node07" of "node[07-09,12],other".
std::string first_host(std::string_view list);

}  // namespace halfback
