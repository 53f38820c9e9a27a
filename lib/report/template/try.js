// Try it: the study's network in plain JavaScript, with the weights that this report trained.

// Scores as lib/metrics.py defines them: agreement of all pixels, and overlap of the foregrounds.
const score = (predicted, truth) => {
  let hits = 0, misses = 0, alarms = 0;
  for (let i = 0; i < truth.length; i++) {
    if (truth[i] && predicted[i]) hits++;
    else if (truth[i]) misses++;
    else if (predicted[i]) alarms++;
  }
  const found = 2 * hits + misses + alarms;
  return { dsc: 1 - (misses + alarms) / truth.length, dice: found ? (2 * hits) / found : 1 };
};

// A convolution of 3 x 3 with a border of zeros: planes (inputs, height, width) to (outputs, height, width).
const convolve = (planes, height, width, weights, bias) => {
  const inputs = weights.length / bias.length / 9, row = width + 2;
  const padded = new Float32Array(inputs * (height + 2) * row);
  for (let line = 0; line < inputs * height; line++) {
    const above = 2 * Math.floor(line / height) + 1;
    padded.set(planes.subarray(line * width, (line + 1) * width), (line + above) * row + 1);
  }
  const outputs = new Float32Array(bias.length * height * width);
  for (let o = 0; o < bias.length; o++) {
    const sum = outputs.subarray(o * height * width, (o + 1) * height * width).fill(bias[o]);
    for (let i = 0; i < inputs; i++) {
      const [a, b, c, d, e, f, g, h, k] = weights.subarray((o * inputs + i) * 9);
      for (let y = 0; y < height; y++) {
        for (let x = 0, p = (i * (height + 2) + y) * row, q = p + row, r = q + row; x < width; x++, p++, q++, r++) {
          sum[y * width + x] += a * padded[p] + b * padded[p + 1] + c * padded[p + 2] + d * padded[q] + e * padded[q + 1]
            + f * padded[q + 2] + g * padded[r] + h * padded[r + 1] + k * padded[r + 2];
        }
      }
    }
  }
  return outputs;
};

// The maxima of squares of 2 x 2, then a transposed convolution of 4 x 4 and stride 2 to one plane.
const poolAndUnfold = (planes, height, width, weights, bias) => {
  const output = new Float32Array(height * width).fill(bias);
  for (let c = 0; c < weights.length / 16; c++) {
    for (let y = 0; y < height; y += 2) {
      for (let x = 0; x < width; x += 2) {
        const at = (c * height + y) * width + x;
        const largest = Math.max(planes[at], planes[at + 1], planes[at + width], planes[at + width + 1]);
        for (let k = 0; k < 16; k++) {
          const down = y - 1 + (k >> 2), right = x - 1 + (k & 3);
          if (down >= 0 && down < height && right >= 0 && right < width) {
            output[down * width + right] += largest * weights[16 * c + k];
          }
        }
      }
    }
  }
  return output;
};

// shallower_CNN_segment of lib/models.py: pixels (RGBA, 0 to 255) to probabilities. Dropout does nothing here.
const probabilities = ({ data, height, width }, weights) => {
  const pixels = height * width, planes = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++) for (let c = 0; c < 3; c++) planes[c * pixels + i] = data[4 * i + c] / 255;
  let from = 0;
  const next = (count) => weights.subarray(from, from += count);
  const first = convolve(planes, height, width, next(432), next(16)).map((x) => Math.max(x, 0));
  const second = convolve(first, height, width, next(7200), next(50));
  return poolAndUnfold(second, height, width, next(800), next(1)[0]).map((x) => 1 / (1 + Math.exp(-x)));
};

const trial = document.getElementById("try");
const [imageBox, networkBox] = all("select", trial);
const slider = trial.querySelector("[type=range]");
const file = trial.querySelector("[type=file]"); // missing where the networks see unmixed stains
const [inputCanvas, maskCanvas] = all("canvas", trial);
const said = trial.querySelector("[role=status]");
const draw = (canvas, source, width, height) => {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
};

// A test image from the gallery: its pixels as the network saw them, and its true mask from the outline.
const fromGallery = async (item) => {
  const picture = new Image();
  picture.src = item.querySelector("image").getAttribute("href");
  await picture.decode();
  const { naturalWidth: width, naturalHeight: height } = picture;
  const context = maskCanvas.getContext("2d"), path = new Path2D(item.querySelector("path.truth").getAttribute("d"));
  const truth = new Uint8Array(height * width);
  // The outline is in half pixels, and no pixel's middle lies on it.
  for (let i = 0; i < truth.length; i++) {
    truth[i] = context.isPointInPath(path, 2 * (i % width) + 1, 2 * Math.floor(i / width) + 1, "evenodd");
  }
  return { pixels: draw(inputCanvas, picture, width, height), truth };
};

// The reader's own picture, no larger than the images that the network knows, with even sides.
const fromFile = async (chosen) => {
  const picture = await createImageBitmap(chosen);
  const scale = Math.min(1, trial.dataset.side / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(2, 2 * Math.round(side * scale / 2)));
  return { pixels: draw(inputCanvas, picture, width, height), truth: null };
};

let tried, found;
const colours = ["hit", "miss", "false-alarm"].map((name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).match(/[0-9a-f]{2}/gi).map((x) => parseInt(x, 16)));
const showMask = () => {
  const { pixels: { data, width, height }, truth } = tried, threshold = Number(slider.value);
  const predicted = found.map((x) => x > threshold), mask = new ImageData(width, height);
  for (let i = 0; i < predicted.length; i++) {
    const grey = (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3;
    const colour = predicted[i] ? colours[truth && !truth[i] ? 2 : 0] : truth && truth[i] ? colours[1] : null;
    for (let c = 0; c < 3; c++) mask.data[4 * i + c] = colour ? 0.4 * grey + 0.6 * colour[c] : grey;
    mask.data[4 * i + 3] = 255;
  }
  Object.assign(maskCanvas, { width, height });
  maskCanvas.getContext("2d").putImageData(mask, 0, 0);
  slider.nextElementSibling.value = threshold.toFixed(2);
  const share = (of) => `${(100 * of.reduce((sum, x) => sum + x, 0) / of.length).toFixed(0)}%`;
  if (truth) {
    const { dsc, dice } = score(predicted, truth);
    said.textContent = `DSC ${dsc.toFixed(3)}, Dice ${dice.toFixed(3)}. Foreground: ${share(truth)} of the image, ${share(predicted)} in the prediction.`;
  } else said.textContent = `Foreground in the prediction: ${share(predicted)} of the image. Without a true mask there is no score.`;
};
const run = () => {
  if (!tried) return;
  const bytes = Uint8Array.from(atob(networkBox.selectedOptions[0].dataset.weights), (x) => x.charCodeAt(0));
  found = probabilities(tried.pixels, new Float32Array(bytes.buffer));
  showMask();
};
const take = async (picture) => {
  tried = await picture;
  run();
};

const known = all("ul.gallery li[data-exact]");
imageBox.append(...known.map((item) => new Option(item.dataset.name, item.id)));
imageBox.parentElement.hidden = known.length === 0;
trial.hidden = document.querySelector("nav a[href='#try']").parentElement.hidden = false;
imageBox.addEventListener("change", () => {
  if (file) file.value = "";
  take(fromGallery(document.getElementById(imageBox.value)));
});
networkBox.addEventListener("change", run);
slider.addEventListener("input", () => { if (tried) showMask(); });
file?.addEventListener("change", () => {
  if (file.files.length) take(fromFile(file.files[0])).catch(() => { said.textContent = `${file.files[0].name}: expected a picture that this browser can open.`; });
});
// Nothing is computed before the reader comes here.
new IntersectionObserver(([entry], observer) => {
  if (!entry.isIntersecting || !known.length) return;
  observer.disconnect();
  if (!tried) take(fromGallery(document.getElementById(imageBox.value)));
}).observe(trial);
