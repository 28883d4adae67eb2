// Lets MKL compute on the calling thread alone. On processors that are not Intel's its order of
// sums depends on the number of its threads, although MKL_CBWR=AUTO,STRICT says otherwise: some
// thin products (3 x 24 with 24 x 31) have other bits on two threads than on one.
#pragma once

namespace halfback {

// For as long as it exists. Does nothing where libtorch has no MKL.
class OneMklThread {
 public:
  OneMklThread();
  ~OneMklThread();
  OneMklThread(const OneMklThread&) = delete;
  OneMklThread& operator=(const OneMklThread&) = delete;

 private:
  int previous_ = 0;
};

}  // namespace halfback
