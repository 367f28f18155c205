// SPDX-License-Identifier: Apache-2.0
// Everything of the facade that needs nothing but the core. shm/json.hpp and shm/fmt.hpp are included by who wants them.
#pragma once

#include "backup.hpp"
#include "dict.hpp"
#include "error.hpp"
#include "event.hpp"
#include "guard.hpp"
#include "list.hpp"
#include "local.hpp"
#include "named_lock.hpp"
#include "options.hpp"
#include "proxy.hpp"
#include "replica.hpp"
#include "serializer.hpp"
#include "serializers_std.hpp"
#include "snapshot.hpp"
#include "status.hpp"
#include "transaction.hpp"
#include "watch.hpp"
