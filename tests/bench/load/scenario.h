/* What can be measured: one row per scenario. */
#ifndef LOAD_SCENARIO_H
#define LOAD_SCENARIO_H

struct load;

struct scenario {
    const char *name;
    void (*run) (struct load *load);
    unsigned needs; /* enum ability, or'ed */
    const char *help;
};

/* Ends with a row without name. */
extern const struct scenario scenarios[];

void events_run (struct load *load);
void messages_run (struct load *load);
void setups_run (struct load *load);
void idle_run (struct load *load);
void resume_run (struct load *load);
void drain_run (struct load *load);

#endif
