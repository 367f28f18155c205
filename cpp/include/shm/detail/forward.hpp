// Names of the facade's templates, for headers that refer to each other.
#pragma once

#include "namespace.hpp"

SHM_NAMESPACE_BEGIN

template <class K, class V>
class dict;
template <class K, class V, bool ReadOnly = false>
class dict_ref;
template <class K, class V>
class snapshot;
template <class K, class V>
class transaction;
class json_dict;

SHM_NAMESPACE_END
