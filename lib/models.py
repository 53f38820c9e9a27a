"""The study's two networks, with its names and layer names, and two networks that it only mentions.

All map an RGB image to a map of foreground probabilities. Dropout has no parameters, so the study's networks have the
same 8,499 weights, and each can load the other's.
"""

from jaxtyping import Float32
from torch import Tensor, nn

Images = Float32[Tensor, "batch 3 height width"]
Probabilities = Float32[Tensor, "batch height width"]


class shallower_CNN_segment(nn.Module):
    """Maps images to foreground probabilities: two convolutions, max-pooling, one transposed convolution.

    Args (forward):
        x: float32 in [0, 1], shape (batch, 3, height, width), both even.

    Returns (forward):
        Probability of foreground, float32 in [0, 1], shape (batch, height, width).

    Reference: the study, section 2.1 b.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=1, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 50, 3, stride=1, padding=1)
        self.pool = nn.MaxPool2d(2, 2)

        self.tconv = nn.ConvTranspose2d(50, 1, 4, stride=2, padding=1)
        self.sig = nn.Sigmoid()

    def forward(self, x: Images) -> Probabilities:
        x = self.conv1(x)
        x = self.relu1(x)  # batch 16 height width
        x = self.conv2(x)  # batch 50 height width; no activation follows
        x = self.pool(x)  # batch 50 height/2 width/2

        x = self.tconv(x)  # batch 1 height width
        x = self.sig(x)
        x = x.squeeze(dim=1)  # the shape of the masks

        return x


class dropout_CNN_segment(nn.Module):
    """`shallower_CNN_segment` with dropout (p = 0.5) before its second convolution.

    Args and Returns (forward): those of `shallower_CNN_segment`. In `train()` mode each input of conv2 is set to zero
    with probability 0.5 and doubled otherwise; in `eval()` mode the layer does nothing. `build_network` gives the
    layer its own random generator.

    Reference: the study, section 2.2 b; Srivastava et al. 2014, JMLR 15, 1929-1958.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=1, padding=1)
        self.relu1 = nn.ReLU()
        self.dropout1 = nn.Dropout(0.5)
        self.conv2 = nn.Conv2d(16, 50, 3, stride=1, padding=1)
        self.pool = nn.MaxPool2d(2, 2)

        self.tconv = nn.ConvTranspose2d(50, 1, 4, stride=2, padding=1)
        self.sig = nn.Sigmoid()

    def forward(self, x: Images) -> Probabilities:
        x = self.conv1(x)
        x = self.relu1(x)
        x = self.dropout1(x)
        x = self.conv2(x)
        x = self.pool(x)

        x = self.tconv(x)
        x = self.sig(x)
        x = x.squeeze(dim=1)

        return x


class two_dropouts_CNN_segment(dropout_CNN_segment):
    """`dropout_CNN_segment` with p = 0.2, and a second dropout layer between its second convolution and the pooling.

    The study says that two layers with p = 0.2 worked less well, but not where they were; the positions are ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropout1 = nn.Dropout(0.2)
        self.dropout2 = nn.Dropout(0.2)

    def forward(self, x: Images) -> Probabilities:
        x = self.dropout1(self.relu1(self.conv1(x)))
        x = self.pool(self.dropout2(self.conv2(x)))
        return self.sig(self.tconv(x)).squeeze(dim=1)


class deeper_CNN_segment(nn.Module):
    """A reconstruction of the deeper network that the study could not train and does not show.

    It is what converting a classifier would give: four convolutions, each with ReLU and max-pooling, then four
    transposed convolutions, without normalisation or skip connections; 269,841 parameters.

    Args and Returns (forward): those of `shallower_CNN_segment`, height and width at least 16.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        for depth in range(1, 5):
            self.add_module(f"conv{depth}", nn.Conv2d(widths[depth - 1], widths[depth], 3, padding=1))
        for depth in range(4, 0, -1):
            self.add_module(
                f"tconv{depth}", nn.ConvTranspose2d(widths[depth], widths[depth - 1] if depth > 1 else 1, 4, 2, 1)
            )
        self.pool = nn.MaxPool2d(2, 2)
        self.sig = nn.Sigmoid()

    def forward(self, x: Images) -> Probabilities:
        sizes = []
        for depth in range(1, 5):
            sizes.append(x.shape[2:])
            x = self.pool(self.get_submodule(f"conv{depth}")(x).relu())
        for depth in range(4, 1, -1):
            x = self.get_submodule(f"tconv{depth}")(x, output_size=sizes[depth - 1]).relu()
        return self.sig(self.get_submodule("tconv1")(x, output_size=sizes[0])).squeeze(dim=1)


NETWORKS: dict[str, type[nn.Module]] = {
    network.__name__: network
    for network in (shallower_CNN_segment, dropout_CNN_segment, two_dropouts_CNN_segment, deeper_CNN_segment)
}
