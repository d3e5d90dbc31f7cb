"""Writes small/{weights.safetensors,eval.h5,train.h5}: reference values of a tiny encoder in float64.

    python make_model.py [OUT]         (needs torch, efficientnet_pytorch 0.7.1, h5py, safetensors, numpy)

The tree's own yardstick where the big reference values are absent. The network is the encoder family's member of
width 0.1 and depth 0.4; inputs are smooth synthetic fields in the range of the features. All values are computed in
float64 from float32 inputs and weights; every layout (groups, names, attributes) is that of the big files:
gradients `grad/NAME`, running statistics `after/NAME`, given masks, `zero_gradient_tensors`, six Adam losses.
"""

import sys

import efficientnet_pytorch.model as en
import h5py
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

WIDTH, DEPTH, PAIRS, SEED = 0.1, 0.4, 3, 20
rng = np.random.default_rng(SEED)
torch.manual_seed(SEED)
torch.set_num_threads(2)


class Encoder(torch.nn.Module):
    """EfficientNet without its classifier, dropout, projection: names as in the published model."""

    def __init__(self):
        super().__init__()
        blocks, parameters = en.get_model_params(
            "efficientnet-b0",
            {"include_top": False, "width_coefficient": WIDTH, "depth_coefficient": DEPTH},
        )
        net = en.EfficientNet(blocks, parameters)
        net._change_in_channels(2)
        self.encoder = torch.nn.Module()
        self.encoder.model = torch.nn.Sequential(net, torch.nn.Dropout(0.0))
        self.projection = torch.nn.Linear(en.round_filters(1280, parameters), 512)

    def forward(self, x):
        return self.projection(self.encoder.model(x).flatten(1))


class Similarity(torch.nn.Module):
    def __init__(self):
        super().__init__()
        # multiples of 1/2048: they compress, and are exact in float32
        w = 0.03 * np.eye(512) + 0.004 * rng.standard_normal((512, 512))
        self.w = torch.nn.Parameter(torch.from_numpy(np.float32(np.rint(w * 2048) / 2048)))

    def forward(self, a, p):
        return a @ (self.w @ p.T)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.layer_norm, self.similarity = Encoder(), torch.nn.LayerNorm(512), Similarity()

    def embed(self, x):
        return torch.tanh(self.layer_norm(self.encoder(x)))

    def loss(self, x):
        s = self.similarity(*self.embed(x).chunk(2))
        return F.cross_entropy(s, torch.arange(len(s))), s


def smooth_fields(n):
    """[n][2][64][501] dB-like values in [-80, 0]: multiples of 1/16, so that they compress."""
    coarse = torch.from_numpy(rng.standard_normal((n, 2, 9, 40)))
    x = F.interpolate(coarse, size=(64, 501), mode="bicubic", align_corners=True).numpy()
    x += 0.3 * rng.standard_normal((n, 2, 64, 1)) + 0.3 * rng.standard_normal((n, 2, 1, 501))
    x = -35 + 22 * x
    x[x < -70] = -80
    return np.float32(np.rint(np.clip(x, -80, 0) * 16) / 16)


def put(group, name, values, note=""):
    values = np.ascontiguousarray(values)
    packed = {} if values.ndim == 0 or values.size < 64 else dict(compression="gzip", compression_opts=9, shuffle=True)
    group.create_dataset(name, data=values, **packed).attrs["note"] = note


def train_step(group, model, x, stochastic):
    net = model.encoder.encoder.model[0]
    net._global_params = net._global_params._replace(drop_connect_rate=0.2 if stochastic else 0.0)
    mode = np.arange(PAIRS) % 3 if stochastic else np.full(PAIRS, 2)
    x = torch.from_numpy(x).double().clone()
    for k in range(PAIRS):
        if mode[k] < 2:
            x[k, mode[k]] = x[PAIRS + k, mode[k]] = 0
    kept = []

    def drop_connect(inputs, p, training):
        keep = (rng.random(2 * PAIRS) >= p).astype(np.float64)
        kept.append((p, keep))
        return inputs / (1 - p) * torch.from_numpy(keep)[:, None, None, None]

    en.drop_connect = drop_connect
    out = (rng.random((2 * PAIRS, model.encoder.projection.in_features)) >= 0.1).astype(np.float64)
    hooks, activations = [], {}
    if stochastic:
        factor = torch.from_numpy(out)[:, :, None, None] / 0.9
        hooks.append(model.encoder.encoder.model[1].register_forward_hook(lambda m, i, o: o * factor))

    def keep_activation(name):
        return lambda m, i, o: activations.__setitem__(name, o.detach())

    hooks.append(net._bn0.register_forward_hook(keep_activation("stem_bn")))
    hooks += [b.register_forward_hook(keep_activation(f"block{j:02d}")) for j, b in enumerate(net._blocks)]
    hooks.append(model.encoder.projection.register_forward_hook(keep_activation("projection")))
    loss, s = model.loss(x)
    loss.backward()
    for hook in hooks:
        hook.remove()

    group.attrs["loss"] = float(loss.detach())
    group.attrs["accuracy"] = float((s.argmax(1) == torch.arange(PAIRS)).double().mean())
    put(group, "s", s.detach().numpy(), "[B][B]")
    put(group, "channel_mode", mode.astype(np.int32), "[B] 0 harmonic zeroed, 1 percussive zeroed, 2 both kept")
    for name, value in activations.items():
        if not stochastic:
            put(group, f"activation/{name}", value[0].float().numpy(), "clip 0")
    gradients = {k: v.grad.numpy() for k, v in model.named_parameters()}
    for name, value in gradients.items():
        put(group, f"grad/{name}", np.float32(value))
    for name, value in model.named_buffers():
        if "running" in name:
            put(group, f"after/{name}", value.numpy(), "running statistics after this step")
    norm = float(np.sqrt(sum(np.sum(g**2) for g in gradients.values())))
    group.attrs["grad_norm"] = norm
    group.attrs["zero_gradient_tensors"] = [k for k, g in gradients.items() if np.linalg.norm(g) <= 1e-6 * norm]
    if stochastic:
        put(group, "dropout_keep", out.astype(np.uint8), "[2B][channels of the head], scale 1/0.9")
        for n, (p, keep) in enumerate(kept):
            put(group, f"drop_connect/{n:02d}", keep.astype(np.uint8), "[2B]; n-th block that has a skip, in order")
            group[f"drop_connect/{n:02d}"].attrs["p"] = p


def main(folder):
    model = Model()
    x = smooth_fields(2 * PAIRS)
    # positives resemble their anchors, so that the loss is neither zero nor chance
    x[PAIRS:] = np.rint((0.6 * x[:PAIRS] + 0.4 * x[PAIRS:]) * 16) / 16
    with torch.no_grad():  # running statistics that fit, embeddings that spread
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for momentum in (1.0, 0.01):
            for norm in norms:
                norm.momentum = momentum
            if momentum == 1.0:
                model.train().embed(torch.from_numpy(x))
        model.eval()
        out = model.encoder(torch.from_numpy(x))
        spread = (out - out.mean(0)).std()
        model.encoder.projection.weight /= spread
        model.encoder.projection.bias.copy_((model.encoder.projection.bias - out.mean(0)) / spread)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{folder}/weights.safetensors")
    start = {k: v.clone() for k, v in model.state_dict().items()}

    def fresh():
        model.double()
        model.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in start.items()})
        model.zero_grad(set_to_none=True)
        return model

    with torch.no_grad(), h5py.File(f"{folder}/eval.h5", "w") as f:
        h = fresh().eval().embed(torch.from_numpy(x).double())
        f["x"] = h5py.ExternalLink("train.h5", "/x")
        put(f, "h", h.numpy(), "[2B][512] embeddings, evaluation mode")
        put(f, "s", model.similarity(h[:PAIRS], h[PAIRS:]).numpy(), "[B][B] similarities")
    with h5py.File(f"{folder}/train.h5", "w") as f:
        f.attrs.update(torch=str(torch.__version__), efficientnet_pytorch="0.7.1", seed=SEED, width=WIDTH, depth=DEPTH)
        put(f, "x", x, "[2B][2][64][501] features, anchors then positives")
        train_step(f.create_group("plain"), fresh().train(), x, False)
        train_step(f.create_group("masked"), fresh().train(), x, True)
        adam = f.create_group("adam")
        adam.attrs["learning_rate"] = 1e-4
        net = fresh().train().encoder.encoder.model[0]
        net._global_params = net._global_params._replace(drop_connect_rate=0.0)
        optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-4), []
        for _ in range(6):
            loss, _ = model.loss(torch.from_numpy(x).double())
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        put(adam, "loss", losses, "loss of steps 0..5")
        print("losses", f["plain"].attrs["loss"], f["masked"].attrs["loss"], losses)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "small")
