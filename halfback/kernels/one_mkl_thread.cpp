#include "halfback/kernels/one_mkl_thread.h"

// MKL's, inside libtorch: sets the number for the calling thread, and returns the one before.
extern "C" int MKL_Set_Num_Threads_Local(int number) __attribute__((weak));

namespace halfback {

OneMklThread::OneMklThread() {
  if (MKL_Set_Num_Threads_Local != nullptr) {
    previous_ = MKL_Set_Num_Threads_Local(1);
  }
}

OneMklThread::~OneMklThread() {
  if (MKL_Set_Num_Threads_Local != nullptr) {
    MKL_Set_Num_Threads_Local(previous_);
  }
}

}  // namespace halfback
