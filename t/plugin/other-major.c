/* A plugin of another major version of the API: the loader must say so instead of "no such symbol". */
__attribute__((visibility("default"))) const void *runner_plugin_2(void);
const void *runner_plugin_2(void)
{
    return (const void *)0;
}
