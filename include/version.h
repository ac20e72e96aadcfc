#pragma once

#define FND_VERSION "0.1.0"
