#include "edge/actor.h"

#include <pthread.h>
#include <signal.h>

zactor_t *actor_new (zactor_fn *task, void *args)
{
    sigset_t all, before;
    sigfillset (&all);
    pthread_sigmask (SIG_SETMASK, &all, &before);
    zactor_t *self = zactor_new (task, args);
    pthread_sigmask (SIG_SETMASK, &before, NULL);
    return self;
}
