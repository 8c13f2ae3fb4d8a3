#!/usr/bin/env python3
"""Whole training steps of the two MNIST models in Keras, on TensorFlow or JAX: the peer of step_bench.

KERAS_BACKEND says which. A step is one compiled function of the rows' numbers, over data that lies in the framework's
own memory: it indexes the minibatch, runs forward, backward and update, and its loss is read. That is quicker than
train_on_batch, which hands each minibatch over from NumPy, and than fit, which runs the same function behind its
callbacks. Images are floats before the clock starts. Prints the same JSON object as step_bench --json.
"""
import os

import harness

PROGRAMS = {"tensorflow": "keras-tf", "jax": "keras-jax"}


def parse():
    parser = harness.step_parser("Training steps of the MNIST models in Keras; KERAS_BACKEND is tensorflow or jax.")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: the policy mixed_bfloat16")
    parser.add_argument("--jit", action="store_true", help="TensorFlow: compile the step by XLA (JAX always does)")
    flags = harness.parse(parser)
    flags.backend = os.environ.get("KERAS_BACKEND", "")
    if flags.backend not in PROGRAMS:
        harness.fail(f"KERAS_BACKEND expects tensorflow or jax, found '{flags.backend}'", 2)
    return flags


def make_net(keras, model):
    layers = keras.layers
    relu = {"activation": "relu"}
    last = layers.Dense(10, dtype="float32")
    if model == "mlp":
        return keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(400, **relu), layers.Dense(400, **relu), last])  # fmt: skip
    return keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Conv2D(32, 3, **relu), layers.Conv2D(64, 3, **relu), layers.MaxPooling2D(2),
         layers.Dropout(0.25), layers.Flatten(), layers.Dense(128, **relu), layers.Dropout(0.5), last])  # fmt: skip


def tensorflow_step(flags, net, optimizer, loss_of, images, labels, rows):
    import tensorflow as tf

    x, y = tf.constant(images), tf.constant(labels)

    @tf.function(jit_compile=flags.jit)
    def update(x, y, chosen):
        with tf.GradientTape() as tape:
            loss = loss_of(tf.gather(y, chosen), net(tf.gather(x, chosen), training=True))
        optimizer.apply_gradients(zip(tape.gradient(loss, net.trainable_variables), net.trainable_variables))
        return loss

    return lambda: float(update(x, y, tf.constant(next(rows))))


def jax_step(net, optimizer, loss_of, images, labels, rows):
    import jax

    x, y = jax.device_put(images), jax.device_put(labels)

    def loss_and_state(trainable, other, x, y):
        outputs, other = net.stateless_call(trainable, other, x, training=True)
        return loss_of(y, outputs), other

    def update(state, x, y, chosen):
        trainable, other, slots = state
        (loss, other), gradients = jax.value_and_grad(loss_and_state, has_aux=True)(trainable, other, x[chosen], y[chosen])
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return loss, (trainable, other, slots)

    update = jax.jit(update, donate_argnums=0)  # the new state takes the old one's memory
    # Copies, since what is donated is lost and Keras keeps the originals.
    state = tuple([jax.numpy.array(v.value) for v in group]
                  for group in (net.trainable_variables, net.non_trainable_variables, optimizer.variables))  # fmt: skip

    def step():
        nonlocal state
        loss, state = update(state, x, y, next(rows))
        return float(loss)

    return step


def make_step(keras, flags):
    keras.utils.set_random_seed(flags.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if flags.precision == "bf16" else "float32")
    images = (harness.read(flags.data_folder, "images") / 255.0).astype("float32")[..., None]
    labels = harness.read(flags.data_folder, "labels").astype("int32")
    net = make_net(keras, flags.model)
    optimizer = (
        keras.optimizers.Adadelta(learning_rate=1.0, rho=0.95, epsilon=1e-7)
        if flags.model == "cnn"
        else keras.optimizers.SGD(learning_rate=0.2)
    )
    optimizer.build(net.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rows = harness.orders(flags.batch, flags.seed)
    if flags.backend == "tensorflow":
        return tensorflow_step(flags, net, optimizer, loss_of, images, labels, rows)
    return jax_step(net, optimizer, loss_of, images, labels, rows)


def main():
    flags = parse()
    if flags.threads and flags.backend == "jax":
        # XLA takes as many threads as the process has processors; there is no flag for it.
        os.sched_setaffinity(0, harness.one_cpu_a_core()[: flags.threads])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if flags.backend == "tensorflow":
            import tensorflow as backend

            if flags.threads:
                backend.config.threading.set_intra_op_parallelism_threads(flags.threads)
                backend.config.threading.set_inter_op_parallelism_threads(flags.threads)
        else:
            import jax as backend
        import keras
    except ImportError as error:
        harness.fail(f"expects a Python with Keras, {flags.backend} and NumPy, found: {error}", 1)
    times, losses = harness.timed(make_step(keras, flags), flags)
    name = "TensorFlow" if flags.backend == "tensorflow" else "JAX"
    jit = " jit" if flags.jit and flags.backend == "tensorflow" else ""
    harness.report(
        flags, times,
        program=PROGRAMS[flags.backend],
        loss_first=losses[0],
        loss_last=losses[-1],
        threads=flags.threads or len(os.sched_getaffinity(0)),
        precision=flags.precision,
        banner=f"Keras {keras.__version__} on {name} {backend.__version__} {flags.precision}{jit}",
        providers={name.lower(): 1},
    )  # fmt: skip


if __name__ == "__main__":
    main()
