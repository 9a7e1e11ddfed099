/* Writes the fixtures of tests/interchange/test_fann_*.py with libfann 2.2.0 (Debian package libfann-dev):
 *     cc -o make_fixtures make_fixtures.c -lfann -lm && ./make_fixtures
 * NAME.net is a network as libfann saves it; NAME.data holds inputs and what libfann's fann_run gives for them.
 */
#include <fann.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned int state = 7; /* of our own: libfann seeds rand() from the clock */

static float draw(void) /* in [-2, 2) */
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 4194304.0f - 2.0f;
}

static void keep(struct fann *ann, const char *name, unsigned int rows)
{
    char path[64];
    unsigned int inputs = fann_get_num_input(ann), outputs = fann_get_num_output(ann), row, i;
    fann_type x[16], *y;
    FILE *file;
    snprintf(path, sizeof path, "%s.net", name);
    fann_save(ann, path);
    snprintf(path, sizeof path, "%s.data", name);
    file = fopen(path, "w");
    fprintf(file, "%u %u %u\n", rows, inputs, outputs);
    for (row = 0; row < rows; row++) {
        for (i = 0; i < inputs; i++) {
            x[i] = draw();
            fprintf(file, "%.9g ", x[i]);
        }
        y = fann_run(ann, x);
        fprintf(file, "\n");
        for (i = 0; i < outputs; i++) fprintf(file, "%.9g ", y[i]);
        fprintf(file, "\n");
    }
    fclose(file);
    fann_destroy(ann);
}

static void weights(struct fann *ann)
{
    unsigned int count = fann_get_total_connections(ann), i;
    struct fann_connection *all = malloc(count * sizeof *all);
    fann_get_connection_array(ann, all);
    for (i = 0; i < count; i++) all[i].weight = draw();
    fann_set_weight_array(ann, all, count);
    free(all);
}

static void xor_trained(void)
{
    static float points[4][2] = {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
    struct fann *ann = fann_create_standard(3, 2, 3, 1);
    struct fann_train_data *data = fann_create_train(4, 2, 1);
    unsigned int i;
    for (i = 0; i < 4; i++) {
        data->input[i][0] = points[i][0];
        data->input[i][1] = points[i][1];
        data->output[i][0] = points[i][0] * points[i][1] < 0 ? 1 : -1;
    }
    fann_save_train(data, "xor_train.data");
    fann_set_activation_function_hidden(ann, FANN_SIGMOID_SYMMETRIC);
    fann_set_activation_function_output(ann, FANN_SIGMOID_SYMMETRIC);
    weights(ann);
    fann_train_on_data(ann, data, 500, 0, 0.0001f);
    fann_destroy_train(data);
    keep(ann, "xor", 8);
}

int main(void)
{
    struct fann *ann;
    unsigned int i;
    xor_trained();

    ann = fann_create_standard(4, 4, 6, 5, 2); /* two hidden layers, linear output, three steepnesses */
    fann_set_activation_function_layer(ann, FANN_SIGMOID, 1);
    fann_set_activation_function_layer(ann, FANN_SIGMOID_SYMMETRIC, 2);
    fann_set_activation_function_layer(ann, FANN_LINEAR, 3);
    fann_set_activation_steepness_layer(ann, 0.25f, 1);
    fann_set_activation_steepness_layer(ann, 0.75f, 2);
    fann_set_activation_steepness_layer(ann, 1.0f, 3);
    weights(ann);
    keep(ann, "deep", 8);

    ann = fann_create_standard(3, 3, 18, 2); /* every activation function there is, one neuron each */
    for (i = 0; i < 18; i++)
        fann_set_activation_function(ann, i == FANN_GAUSSIAN_STEPWISE ? FANN_LINEAR : i, 1, (int)i);
    weights(ann);
    keep(ann, "activations", 8);

    ann = fann_create_sparse(0.5f, 3, 5, 8, 2);
    weights(ann);
    keep(ann, "sparse", 8);

    ann = fann_create_shortcut(4, 3, 4, 3, 2);
    weights(ann);
    keep(ann, "shortcut", 8);

    ann = fann_create_standard(2, 3, 2); /* linear outputs beyond 150 / steepness, where libfann cuts */
    fann_set_activation_function_output(ann, FANN_LINEAR);
    fann_set_activation_steepness_output(ann, 6.0f);
    weights(ann);
    keep(ann, "cut", 8);
    return 0;
}
