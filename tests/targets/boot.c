/* A boot loader as frozen programs have one: it opens its libpython when it runs already.
 *
 * boot HOW LIBPYTHON ARGUMENTS...: Python in its own process ("itself"), in a thread beside another that goes on
 * ("thread"), in a child ("fork"), or in a child that is this program again ("exec"), as one-file programs are. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int count;
static char **arguments;

static int python(void)
{
    void *library = dlopen(arguments[2], RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 99;
    }
    int (*run)(int, char **) = (int (*)(int, char **))dlsym(library, "Py_BytesMain");
    return run(count - 2, arguments + 2);
}

static void *in_thread(void *status)
{
    *(int *)status = python();
    return NULL;
}

static void *goes_on(void *unused)
{
    for (;;)
        pause();
    return unused;
}

int main(int number, char **words)
{
    count = number;
    arguments = words;
    if (!strcmp(words[1], "thread")) {
        pthread_t one, other;
        int status;
        pthread_create(&other, NULL, goes_on, NULL);
        pthread_create(&one, NULL, in_thread, &status);
        pthread_join(one, NULL);
        return status;
    }
    if (strcmp(words[1], "itself")) {
        int status, again = !strcmp(words[1], "exec");
        words[1] = "itself";
        if (!fork()) {
            if (again)
                execv("/proc/self/exe", words);
            return python();
        }
        wait(&status);
        return WEXITSTATUS(status);
    }
    return python();
}
