// SPDX-License-Identifier: Apache-2.0
// An exception on its way through the core, which is C: kept by the callback that it would leave, and thrown on when the core
// has returned. The cancellation of a thread is not kept: it unwinds the core's functions, which release what they hold.
#pragma once

#include <exception>
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

#include "namespace.hpp"

SHM_DETAIL_BEGIN

class carried {
 public:
  // f()'s result, or `failed` if it throws.
  template <class F>
  int catching(int failed, const F& f) {
    try {
      return f();
    }
#if defined(__GLIBCXX__)
    catch (const abi::__forced_unwind&) {
      throw;
    }
#endif
    catch (...) {
      error_ = std::current_exception();
      return failed;
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

SHM_DETAIL_END
