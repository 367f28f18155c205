// SPDX-License-Identifier: Apache-2.0
// The main of every Catch2 test program. Exit code 77 tells CTest that a case could not run here.
#if __has_include(<catch2/catch_all.hpp>)
#include "support/catch.hpp"
#else
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"
#endif

int main(int argc, char** argv) {
  Catch::Session session;
#if SHMDICT_CATCH_MAJOR == 2
  // A name that matches no case is a failure, as it is in 3.x.
  const int usage = session.applyCommandLine(argc, argv);
  if (usage != 0) return usage;
  session.configData().warnings =
      static_cast<Catch::WarnAbout::What>(session.configData().warnings | Catch::WarnAbout::NoTests);
  const int result = session.run();
#else
  const int result = session.run(argc, argv);
#endif
  return result == 0 && support::skipped() ? 77 : result;
}
