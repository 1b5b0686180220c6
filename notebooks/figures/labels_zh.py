"""The words of the diagrams in Chinese; the terms are those of docs/glossary.md.

A label that is not here is the same in both editions: a number, a formula, code, a name, or a word
of a sample sentence. KEPT has the words among these.
"""

from __future__ import annotations

# English label, as the lesson_NN.py have it, to Chinese.
LABELS = {
    # Lesson 00
    "the parts": "各个部件",
    "00  start here": "00  从这里开始",
    "MindSpore, in short": "MindSpore 简介",
    "01  language models": "01  语言模型",
    "the way to attention": "走向注意力",
    "02  attention": "02  注意力",
    "query, key, value": "查询、键、值",
    "03  positional encoding": "03  位置编码",
    "the order of words": "词的顺序",
    "the translator": "翻译模型",
    "04  the Transformer": "04  Transformer",
    "all parts together": "所有部件合在一起",
    "05  Multi30k translation": "05  翻译 Multi30k",
    "data, training, BLEU": "数据、训练、BLEU",
    "5b  each part's worth": "5b  每个部件值多少",
    "leave one out, measure": "去掉一个，再测量",
    "06  decoding, evaluation": "06  解码与评测",
    "search, cache, errors": "搜索、缓存、错误",
    "what grew of it": "由它发展而来",
    "the decoder alone": "只用解码器",
    "the encoder alone": "只用编码器",
    "09  vision Transformer": "09  视觉 Transformer",
    "pictures as tokens": "把图像当作词元",
    "10  scaling up": "10  扩大规模",
    "larger, on more devices": "模型更大，设备更多",
    "today": "今天",
    "11  a decoder of today": "11  今天的解码器",
    "12  base to assistant": "12  从基座模型到助手",
    "LoRA, DPO, int8": "LoRA、DPO、int8",
    "PyNative (dynamic graph)": "PyNative 模式（动态图）",
    "multiply": "乘法",
    "add": "加法",
    "every call goes this way; you can print and debug between": (
        "每次调用都这样走一遍；中途可以打印，也可以调试"
    ),
    "compiled with ms.jit (static graph)": "用 ms.jit 编译（静态图）",
    "compile, once\nper shape": "每种形状\n编译一次",
    "later calls skip the compiling: Python starts the graph and waits": (
        "以后的调用不再编译：Python 启动这张图，然后等待"
    ),
    # Lesson 01
    "the last n − 1 = 3 words": "前面 n − 1 = 3 个词",
    "one table C for all places,": "所有位置共用一张表 C，",
    "one vector per word": "每个词一个向量",
    "hidden layer: tanh(d + H x)": "隐藏层：tanh(d + H x)",
    "x: the three vectors side by side": "x：三个向量并排拼接",
    "output: softmax(b + U h)": "输出层：softmax(b + U h)",
    "a probability for every word": "给每个词一个概率",
    "without: one vector": "不带注意力：一个向量",
    "the ends of both readings": "两次阅读末尾的状态",
    "one\nvector": "一个\n向量",
    "the bottleneck: the same vector for every word": "瓶颈：写每个词都靠同一个向量",
    "with attention: all states stay": "带注意力：所有状态都保留",
    "s₃ asks (dashed)": "s₃ 提问（虚线）",
    "thick: a large weight": "粗线：权重大",
    "s₃ and c₃ give “plays”": "s₃ 和 c₃ 给出“plays”",
    "recurrence: each state waits for the last": "循环：每个状态都要等前一个状态",
    "self-attention: no word waits for another": "自注意力：词与词互不等待",
    "step 1": "第 1 步",
    "step 2": "第 2 步",
    "step 3": "第 3 步",
    "step 4": "第 4 步",
    "step 5": "第 5 步",
    "step 6": "第 6 步",
    "six words: six steps in a row": "六个词：依次走六步",
    "1 query, key, value · 2 score · 3 softmax · 4 mean": (
        "1 查询、键、值 · 2 得分 · 3 softmax · 4 加权平均"
    ),
    "six words or six hundred: four steps": "六个词也好，六百个词也好：都是四步",
    # Lesson 02
    "query": "查询",
    "what 'its' looks for": "“its”要找什么",
    "key": "键",
    "what a word offers": "每个词有什么",
    "score": "得分",
    "weight": "权重",
    "value": "值",
    "what it gives": "每个词给什么",
    "output": "输出",
    "Every value takes part; its weight says how much. The weights are positive, and sum to 1.": (
        "每个值都参与，权重决定参与多少。权重都是正数，和为 1。"
    ),
    "scaled dot product": "缩放点积",
    "additive": "加性",
    "learned": "学到的",
    "padding mask": "填充掩码",
    "no query looks at padding": "哪个查询都不看填充",
    "causal mask": "因果掩码",
    "no query looks ahead": "哪个查询都不看后面",
    "both, joined by and": "两者取“与”",
    "what a decoder uses": "解码器用的掩码",
    "queries": "查询",
    "columns: keys.   ✓ True, may attend.   Empty: False, must not.": (
        "列：键。   ✓：True，可以看。   空白：False，不能看。"
    ),
    "self-attention": "自注意力",
    "keys: the same sentence": "键：同一个句子",
    "causal self-attention": "因果自注意力",
    "keys: the words so far": "键：到目前为止的词",
    "cross-attention": "交叉注意力",
    "keys: the other sentence": "键：另一个句子",
    "query (…, D)": "查询 (…, D)",
    "key (…, D)": "键 (…, D)",
    "value (…, D)": "值 (…, D)",
    "cut into": "切成",
    "H slices": "H 段",
    "project": "投影",
    "inputs": "输入",
    "attention\nhead 1": "注意力头 1",
    "attention\nhead 2": "注意力头 2",
    "attention\nhead 3": "注意力头 3",
    "H heads,": "H 个头",
    "side by side": "并排计算",
    "join": "拼接",
    "output (…, D)": "输出 (…, D)",
    "recurrence": "循环",
    "each state waits for the one before": "每个状态都要等前一个状态",
    "5 steps, one after another": "依次走 5 步",
    "words": "词",
    "convolution, width 3": "卷积，宽度 3",
    "three neighbours per layer": "每层看相邻的三个词",
    "5 layers": "5 层",
    "every word looks at every word": "每个词都看所有的词",
    "1 layer": "1 层",
    # Lesson 03
    "first sentence": "第一句",
    "second sentence": "第二句",
    "0, 1, 2: the places": "0、1、2：位置",
    "what attention sees": "注意力看到的",
    "one mean vector\nfor both": "两句得到\n同一个均值向量",
    "The words are kept, their places are lost": "词还在，位置丢了",
    "A position = one column of clock hands": "一个位置 = 一列指针",
    "fast pair": "快的一对",
    "1 rad per step": "每步 1 弧度",
    "slower pair": "较慢的一对",
    "0.32 rad per step": "每步 0.32 弧度",
    "slowest pair": "最慢的一对",
    "0.1 rad per step": "每步 0.1 弧度",
    "these three hands = six numbers: the encoding of t = 3": ("这三根指针 = 六个数：t = 3 的编码"),
    "distance of the tip to the right: sine   ·   its height: cosine   (speeds chosen for the "
    "picture)": "针尖向右多远：正弦   ·   针尖向上多远：余弦   （转速是为这幅图选的）",
    "Both turn; the angle between them stays": "两者都转动，夹角不变",
    "query, t = 1": "查询，t = 1",
    "query, t = 7": "查询，t = 7",
    "key, t = 4": "键，t = 4",
    "key, t = 10": "键，t = 10",
    "positions 1 and 4": "位置 1 和 4",
    "six places later: 7 and 10": "往后六位：7 和 10",
    "α: the angle between query and key before they are turned": "α：转动之前查询与键的夹角",
    "sinusoidal, learned: added": "正弦位置编码、可学习位置：相加",
    "once, before the first layer": "只加一次，在第一层之前",
    "softmax(query · keyᵀ / √Dk) · value": "softmax(查询 · 键ᵀ / √Dk) · 值",
    "embedding": "嵌入",
    "position t": "位置 t",
    "rotary: turned": "旋转位置编码：转动",
    "in every layer": "每一层都转动",
    "turn by\nt · θ": "转过\nt · θ",
    "Name the word three places to the left": "说出往左数三个位置的词",
    "answers": "答案",
    # Lesson 04
    "encoder": "编码器",
    "decoder": "解码器",
    "source tokens, (B, S)": "源句子的词元，(B, S)",
    "<BOS>, then the target so far, (B, T)": "<BOS>，然后是已写出的目标句子，(B, T)",
    "source embedding": "源语言嵌入",
    "target embedding": "目标语言嵌入",
    "positions": "位置",
    "feed-forward": "前馈网络",
    "causal\nself-attention": "因果自注意力",
    "memory, (B, S, D)": "记忆，(B, S, D)",
    "unembedding": "反嵌入",
    "probabilities of the next token, (B, T, V)": "下一个词元的概率，(B, T, V)",
    "post-norm": "后置归一化",
    "pre-norm": "前置归一化",
    "sub-layer  f": "子层  f",
    "on the residual line": "在残差通路上",
    "nothing stands on the residual line": "残差通路上什么都没有",
    "D features →": "D 个特征 →",
    "sentence 1": "句子 1",
    "sentence 2": "句子 2",
    "one mean for each feature,": "每个特征一个均值，",
    "over all sentences and the padding": "对所有句子计算，连填充也算在内",
    "one mean for each token,": "每个词元一个均值，",
    "over nothing but the token itself": "只对这个词元自己计算",
    "ids": "编号",
    "+ positions": "+ 位置",
    "self-\nattention": "自注意力",
    "feed-\nforward": "前馈网络",
    "memory": "记忆",
    "causal self-\nattention": "因果\n自注意力",
    "cross-\nattention": "交叉注意力",
    "un-\nembedding": "反嵌入",
    "N layers": "N 层",
    "keys and values": "键和值",
    "under each box: the shape that leaves it; above: a tensor inside it": (
        "方框下面：输出的形状；方框上面：内部一个张量的形状"
    ),
    # Lesson 05
    "sentence pair": "句对",
    "tokens": "词元",
    "batch (B, L)": "批次 (B, L)",
    "real tokens": "真实词元",
    "padding": "填充",
    "Each length L is one shape: it is compiled once.": "每个长度 L 是一种形状，只编译一次。",
    "labels": "标签",
    "decoder input": "解码器的输入",
    "decoder, with a causal mask": "解码器，带因果掩码",
    "position t reads the words before word t, and learns to say word t": (
        "位置 t 读第 t 个词之前的词，学着说出第 t 个词"
    ),
    # Lesson 05b
    "attention": "注意力",
    "output projection": "输出投影",
    "softmax, loss": "softmax、损失",
    "then the gradient, clipping, Adam": "然后是梯度、裁剪、Adam",
    "residual connections": "残差连接",
    "x + f(x) becomes f(x)": "x + f(x) 变成 f(x)",
    "all of them become the identity": "全都变成恒等映射",
    "adds nothing to x": "不再给 x 加任何东西",
    "scale": "缩放",
    "scores are not divided by √Dk": "得分不除以 √Dk",
    "none, learned, or rotary": "没有、可学习或旋转",
    "warm-up": "预热",
    "the peak rate from the first update": "从第一次更新起就用最大的学习率",
    "label smoothing": "标签平滑",
    "ε = 0 in place of 0.1": "ε = 0，而不是 0.1",
    "dropout": "随机失活（dropout）",
    "0 in place of 0.1": "0，而不是 0.1",
    "tied embeddings": "嵌入权重共享",
    "three matrices in place of one": "三个矩阵，而不是一个",
    "heads": "注意力头",
    "1, 2 or 8 in place of 4": "1、2 或 8 个，而不是 4 个",
    "place of LayerNorm": "LayerNorm 的位置",
    "post-norm in place of pre-norm": "后置归一化，而不是前置归一化",
    "the seed decides": "随机种子决定",
    "trained": "训练",
    "difference": "差",
    "seed 1:\nfirst weights, batches": "种子 1：\n初始权重、批次",
    "seed 2:\nfirst weights, batches": "种子 2：\n初始权重、批次",
    "seed 3:\nfirst weights, batches": "种子 3：\n初始权重、批次",
    "baseline": "基线",
    "without one part": "去掉一个部件",
    "mean and": "均值和",
    "spread": "离散程度",
    "What a seed does to both models of its row alike is gone from the difference.": (
        "种子对同一行两个模型的影响，相同的部分在差里抵消了。"
    ),
    # Lesson 06
    "beam search stops after step 4:": "束搜索在第 4 步之后停止：",
    "no open prefix is above .306": "未结束的前缀都不高于 .306",
    "kept": "保留",
    "dropped": "舍去",
    "found by beam search": "束搜索找到的",
    "found by greedy search": "贪心搜索找到的",
    "path of greedy search": "贪心搜索的路径",
    "without a cache": "不用缓存",
    "input": "输入",
    "key, value": "键、值",
    "scores: query × key": "得分：查询 × 键",
    "next word: in": "下一个词：in",
    "with a cache": "用缓存",
    "5 positions, 15 scores": "5 个位置，15 个得分",
    "1 position, 5 scores": "1 个位置，5 个得分",
    "computed in this step": "这一步计算的",
    "kept from earlier steps": "前几步留下的",
    # Lesson 07
    "× layers": "× 层数",
    "sum, LayerNorm": "求和、LayerNorm",
    "embedding\n+ positions": "嵌入\n+ 位置",
    "German": "德语",
    "to vocabulary": "投影到词表",
    "masked\nself-attention": "带掩码的\n自注意力",
    "English so far": "已写出的英语",
    "crossed out: there is no sentence to read": "划掉：没有要读的句子",
    "the next token, at each place": "每个位置的下一个词元",
    "the text so far": "到目前为止的文本",
    "one table": "同一张表",
    "norm before, sum after each part": "每个部分之前归一化，之后求和",
    # Lesson 08
    "GPT: back only": "GPT：只看前面",
    "keys: the words that it may look at": "键：可以看的词",
    "BERT: both sides": "BERT：看前后两边",
    "query:": "查询：",
    "the word": "正在看",
    "that looks": "的词",
    "Shaded: may attend. In GPT the row of “play” ends at “play”.": (
        "着色：可以看。在 GPT 里，“play”那一行到“play”为止。"
    ),
    "word": "词",
    "segment": "片段",
    "position": "位置",
    "added": "相加",
    "encoder: self-attention to both sides": "编码器：自注意力，看前后两边",
    "next-sentence head": "下一句预测头",
    "masked-LM head": "掩码语言模型头",
    "B follows A: yes": "B 接在 A 后面：是",
    "the other outputs are not asked": "其余的输出不用",
    "from scratch": "从头训练",
    "body, random": "主体，随机权重",
    "new head": "新的输出头",
    "pre-trained, then fine-tuned": "先预训练，再微调",
    "many texts,\nno labels": "大量文本\n没有标签",
    "body": "主体",
    "masked-LM\nhead": "掩码语言\n模型头",
    "next-sent.\nhead": "下一句\n预测头",
    "pre-training": "预训练",
    "the body": "主体",
    "moves over": "移过来",
    "body, trained": "主体，已训练",
    "few texts\nwith labels": "少量文本\n有标签",
    "same head, same labels": "输出头相同，标签相同",
    # Lesson 09
    "image: 8 × 8 pixels": "图像：8 × 8 像素",
    "cut into 16 patches of 2 × 2": "切成 16 个 2 × 2 的图像块",
    "linear": "线性",
    "a sentence of 16 patches; one linear map for all of them": (
        "16 个图像块组成的句子；共用同一个线性映射"
    ),
    "one after the other": "逐个排成一行",
    "class\ntoken": "分类\n词元",
    "encoder: each token looks at all 17": "编码器：每个词元都看全部 17 个",
    "classifier": "分类器",
    "10 scores, one for each digit": "10 个得分，每个数字一个",
    "not used for the class": "分类时不用",
    # Lesson 10
    "sign": "符号",
    "exponent: range": "指数：范围",
    "fraction: digits": "尾数：有效位数",
    "a batch: 8 rows": "一个批次：8 行",
    "worker 0": "工作进程 0",
    "worker 1": "工作进程 1",
    "the whole model\nthe same weights": "整个模型\n权重相同",
    "gradient of its rows: g₀": "自己那些行的梯度：g₀",
    "gradient of its rows: g₁": "自己那些行的梯度：g₁",
    "the same update": "同样的更新",
    "all-reduce": "全规约",
    "for both": "两边都得到",
    "data: cut the batch": "数据并行：切批次",
    "device 0": "设备 0",
    "device 1": "设备 1",
    "sent: gradients": "传送：梯度",
    "optimizer: and Adam's state": "优化器并行：也切 Adam 的状态",
    "sent: gradients, new weights": "传送：梯度、新的权重",
    "tensor: cut every matrix": "张量并行：切每个矩阵",
    "sent: parts of every layer's output": "传送：每层输出的各个部分",
    "pipeline: cut between layers": "流水线并行：在层与层之间切",
    "sent: the output of layer 2; its gradient back": "传送：第 2 层的输出；传回它的梯度",
    "rows of the batch": "批次的行",
    "weights and gradients of a layer": "一层的权重和梯度",
    "Adam's state": "Adam 的状态",
    "held by the other device": "存在另一台设备上",
    # Lesson 11
    "GPT-2, 2019": "GPT-2，2019",
    "token ids": "词元的编号",
    "embedding\n+ learned positions": "嵌入\n+ 可学习位置",
    "masked attention,\na key for each query\nhead": "带掩码的注意力\n每个查询头\n配一个键值头",
    "feed-forward:\n2 matrices, GELU": "前馈网络：\n2 个矩阵，GELU",
    "new": "新",
    "Llama, Qwen": "Llama、Qwen",
    "masked attention,\nturned, a key for\na group of heads": (
        "带掩码的注意力\n旋转，一组查询头\n配一个键值头"
    ),
    "SwiGLU:\n3 matrices, a gate": "SwiGLU：\n3 个矩阵，一个门",
    "left there are biases everywhere, right nowhere": "左边处处有偏置，右边一个也没有",
    # Lesson 12
    "base model": "基座模型",
    "learns from": "从什么学习",
    "running text:": "连续文本：",
    "each next token": "每个下一词元",
    "is a label": "算作标签",
    "changes": "改变什么",
    "all weights": "全部权重",
    "instruction\ntuning": "指令微调",
    "question, answer:": "问题和回答：",
    "the answer alone": "只有回答",
    "the same rows": "同样的数据",
    "A and B beside": "A 和 B，在冻结的",
    "frozen weights,": "权重旁边；",
    "then merged": "然后合并",
    "pairs of answers,": "成对的回答，",
    "one preferred;": "一个受偏好；",
    "a frozen reference": "冻结的参考模型",
    "all weights,": "全部权重，",
    "held near": "但不远离",
    "the reference": "参考模型",
    "quantised": "量化",
    "nothing:": "什么都不学：",
    "weights are": "只把权重",
    "rounded": "舍入",
    "4 bytes to": "4 字节变成",
    "1, or to a half,": "1 或半个字节，",
    "and scales": "外加缩放因子",
    "or": "或",
}

# Name of a diagram to its title and its description.
TITLES = {
    "00-course-map": (
        "课程地图",
        "四行方框，用箭头连接。第一行是各个部件：00 从这里开始，01 语言模型，02 注意力，03 "
        "位置编码。第二行是翻译模型：04 Transformer，05 翻译 Multi30k，5b 每个部件值多少，06 "
        "解码与评测。第三行由它发展而来：07 GPT，08 BERT，09 视觉 Transformer，10 扩大规模。"
        "第四行是今天：11 今天的解码器，12 从基座模型到助手。",
    ),
    "00-two-modes": (
        "PyNative 与编译",
        "上面一行是 PyNative：Python 把乘法、加法和 tanh 逐个送到设备上，每送出一个，Python "
        "就继续往下走。下面一行用 ms.jit 编译：第一次调用时，Python 代码变成一张图，"
        "里面有这三个算子；此后 Python 一次送出整张图。",
    ),
    "01-neural-lm": (
        "神经语言模型",
        "三个词 a、boy、is 在最下面。每个词从同一张词向量表 C 中取出自己的那一行。"
        "三个向量并排拼接，由带 tanh 的隐藏层读取。输出层给词表中的每个词一个概率：playing "
        "的概率最高。",
    ),
    "01-encoder-decoder": (
        "一个向量，以及注意力",
        "上图：编码器从两个方向读 ein Junge spielt Geige。两次阅读末尾的状态合成中间的一个方框，"
        "解码器能得到的只有它，开始时用一次，写每个词时再用一次。解码器写出 a boy plays violin。"
        "下图：带注意力的同一个模型。四个源词的状态都保留。解码器的第三个状态提问；c3 "
        "是源状态的加权平均，其中 spielt 的权重最大；第三个状态和 c3 一起给出 plays 这个词。",
    ),
    "01-in-a-row": (
        "排成一串，或同时进行",
        "左图，RNN 读六个词：每个状态有一个箭头指向下一个状态，最后一个状态走完六步才得到。右图，"
        "对六个词做自注意力：每个输出都有来自全部六个输入的箭头，所有输出在第 4 "
        "步之后就都得到了。",
    ),
    "02-soft-lookup": (
        "注意力是一种软查找",
        "把“its”这个词的查询与全部五个词的键比较。每次比较得到一个得分，softmax "
        "把五个得分变成权重，输出是五个值乘以各自权重之后的和。“dog”得到大部分权重。",
    ),
    "02-two-scores": (
        "为查询和键打分的两种办法",
        "左图：查询和键的宽度相同，两者做点积，再除以 Dk 的平方根；没有要学的东西。右图："
        "查询和键的宽度可以不同，各自经过一个学到的矩阵；结果相加，经过 tanh，再由学到的向量 v "
        "变成一个数。",
    ),
    "02-masks": (
        "填充掩码、因果掩码，以及两者合用",
        "三张网格图，句子是 the dog chased pad pad，五行是查询，五列是键。填充掩码："
        "每一行都允许前三列。因果掩码：每一行允许自己的那一列和前面的各列。两者合用："
        "只允许两种掩码都允许的格子。",
    ),
    "02-three-uses": (
        "自注意力、因果自注意力、交叉注意力",
        "三幅图，箭头都指向“its”这个词的输出。自注意力：箭头来自全部五个英语词。因果自注意力："
        "箭头来自“its”和它前面的词，一共四个；后面的词“ball”没有箭头。交叉注意力："
        "箭头来自全部六个德语词。",
    ),
    "02-heads": (
        "多头注意力",
        "从下到上：宽度为 D 的查询、键和值各经过自己的矩阵。结果切成 H 段，每段宽度为 Dk。H "
        "个注意力头各用自己的那几段，并排做缩放点积注意力。各头的输出重新拼接成宽度 D，"
        "再经过矩阵 Wo。",
    ),
    "02-paths": (
        "从第一个词到最后一个输出的路",
        "三幅图，六个词在下面，输出在上面。循环：第一个词沿着一条链，经过五次相邻的传递，"
        "到达最后一个输出。窗口为三个词的卷积：每一层把它送远一个位置，所以需要五层。自注意力："
        "从第一个词到最后一个输出只有一个箭头，只需一层。",
    ),
    "03-bag-of-words": (
        "词相同的两个句子是同一个词袋",
        "左边有两行方框：Anna sees Ben 和 Ben sees Anna。每一行都有一个箭头指向同一个袋子，"
        "袋子里是这三个词，没有顺序。从袋子出来的一个箭头指向一个向量：注意力分不清这两个句子。",
    ),
    "03-clocks": (
        "位置由几个快慢不同的时钟读出",
        "由钟面组成的网格。各列是位置 0 到 5，三行是三对坐标。第一行的指针转得快，第二行慢一些，"
        "第三行几乎不动。所有指针都从十二点出发，顺时针转动：针尖向右多远是正弦，向上多远是余弦。"
        "从上到下读一列，就是这个位置的编码。",
    ),
    "03-rotating-pair": (
        "旋转位置编码：查询与键的夹角只取决于它们的距离",
        "两个圆，里面各有两个箭头。左边的圆里，查询在位置 1，键在位置 4。右边的圆里，"
        "两者都往后移了六位。右边的箭头都转得更多，但查询与键的夹角和左边一样："
        "转动之前两者的夹角 alpha，加上三倍的 theta。",
    ),
    "03-where": (
        "每种方案从哪里进入这一层",
        "两幅注意力层的示意图，从下往上读。左图：位置向量，不论是正弦的还是可学习的，"
        "都加到嵌入上，再由两者的和计算查询、键和值。右图：嵌入原样进入查询、键和值；"
        "然后查询和键转过一个角度，角度取决于位置；值不转。",
    ),
    "03-task": (
        "任务：在每个位置上，说出往左数三个位置的词",
        "一行八个词，用词表中的编号表示，下面是一行答案。位置 3 的答案是位置 0 的词，位置 4 "
        "的答案是位置 1 的词，依此类推。前三个位置没有答案。",
    ),
    "04-transformer": (
        "Transformer 的结构",
        "左边是编码器：源语言嵌入，位置，然后是 N 层自注意力和前馈网络，每个子层后面都有 add & "
        "norm（求和与归一化）。右边是解码器：目标语言嵌入，位置，然后是 N 层因果自注意力、"
        "交叉注意力和前馈网络，每个子层后面都有 add & norm；最后是反嵌入和 softmax。"
        "一个箭头从编码器的顶端通到每个交叉注意力，作为它的键和值。",
    ),
    "04-norm-order": (
        "后置归一化与前置归一化",
        "两行，都从左往右读。后置归一化：子层的输出加到 x 上，LayerNorm 作用于求和的结果，"
        "所以它就在残差通路上。前置归一化：LayerNorm 只作用于子层的输入；残差通路从输入直通输出，"
        "中间没有变化。",
    ),
    "04-norm-axes": (
        "BatchNorm 和 LayerNorm 对不同的数求均值",
        "两个相同的网格：行是两个句子的词元，第二句后面用两行填充补齐；列是特征。BatchNorm："
        "标出一列，贯穿所有句子的所有词元，也贯穿填充。LayerNorm：标出一行，只有一个词元。",
    ),
    "04-data-way": (
        "数据走过 Transformer 的路，以及各处的形状",
        "上面一行是编码器：编号 (B, S)，嵌入 (B, S, D)，加上位置 (B, S, D)，自注意力，其权重为 "
        "(B, H, S, S)，前馈网络，内层宽度 (B, S, d_ff)，记忆 (B, S, D)。下面一行是解码器：编号 "
        "(B, T)，嵌入，位置，因果自注意力，其权重为 (B, H, T, T)，交叉注意力，其权重为 (B, H, T, "
        "S)，前馈网络，反嵌入得到未归一化得分 (B, T, V)。两行里面，宽度 D 始终不变。",
    ),
    "05-pipeline": (
        "从文本到批次",
        "一个德语句子和一个英语句子切成字节对，字节对变成编号，长度相近的句对放进同一个分桶，"
        "每个分桶填充到同一个长度。",
    ),
    "05-shifted-target": (
        "解码器读什么，又学着说什么",
        "目标句子是 a dog runs。解码器读 bos、a、dog、runs、句号。在同样的位置上，它要说出 a、"
        "dog、runs、句号、eos。",
    ),
    "05b-parts": (
        "这一课去掉的部件",
        "从下到上：嵌入，位置，然后是 N 次 LayerNorm、注意力、随机失活与求和、LayerNorm、"
        "前馈网络、随机失活与求和；接着是 LayerNorm、输出投影、softmax 和损失。"
        "数字标出去掉或改动的地方：残差连接、LayerNorm、前馈网络、注意力的缩放、位置、预热、"
        "标签平滑、随机失活、嵌入权重共享、注意力头的个数，以及 LayerNorm 的位置。",
    ),
    "05b-pairs": (
        "公平的比较要一个种子一个种子地做",
        "三行，每行一个种子。每一行里，种子决定初始权重和批次，基线和变体用的都是这些；"
        "两者都经过训练，在行内求出它们 BLEU 的差。均值和离散程度是对这三个差计算的。",
    ),
    "06-beam-tree": (
        "束宽为 2 的束搜索",
        "一棵由前缀组成的树，每一步一列。从句子开头保留两个词：it（0.640）和 rain（0.360）。"
        "贪心搜索只沿上面的路径走：it is raining 加句号，概率是 0.266。束搜索还沿下面的路径走："
        "rain 加句号，最后的概率是 0.306，比前者好。第 4 步之后，没有一个未结束的前缀高于 0.306，"
        "搜索就停止了。wet、falls 和 now 这几个后续被舍去。",
    ),
    "06-cache": (
        "不用缓存和用缓存的一个解码步",
        "两幅图画出第五个解码步。不用缓存时，解码器把五个词元重新读一遍：计算五个键、五个值，"
        "以及由十五个得分组成的整个三角形。用缓存时，它只读最后一个词元：一个新的键和值，"
        "一行五个得分；前面的四个键和值来自缓存。",
    ),
    "07-crossed-out": (
        "从 Transformer 到 GPT",
        "左边是 Transformer：编码器有自注意力和前馈网络，解码器有带掩码的自注意力、"
        "对编码器输出的交叉注意力和前馈网络；每个部分后面都有残差求和与 LayerNorm。编码器、"
        "交叉注意力和它的求和都划掉了。右边是剩下的 GPT：词元嵌入加上位置，"
        "若干层带掩码的自注意力和前馈网络，每个部分前面有 LayerNorm，后面有残差求和，"
        "然后是最后一个 LayerNorm，以及到词表的投影，它与嵌入共用一张表。",
    ),
    "08-two-sides": (
        "每个位置能看到什么",
        "两个方格图，句子是 two boys play the violin。一行属于正在看的词（查询），"
        "一列属于它可以看的词（键）。在 GPT 里，每个词看到自己和前面的词，是一个下三角。在 BERT "
        "里，每个词看到所有的词，前面和后面的都能看到。",
    ),
    "08-input": (
        "BERT 的输入和两个输出头",
        "八个词元：CLS、two、boys、MASK、SEP、the、violin、SEP。每个词元有一个词向量、"
        "一个片段向量（前五个是 A，其余是 B）和一个位置向量；三者相加，送进编码器。"
        "掩码语言模型头从编码器在 MASK 处的输出预测 play。下一句预测头从 CLS 处的输出判断 B 接在 "
        "A 后面。",
    ),
    "08-fine-tuning": (
        "从头训练，以及微调",
        "得到分类器的两条路。从头训练：随机权重的主体加上新的输出头，用少量带标签的文本训练。"
        "微调：主体先带着掩码语言模型头和下一句预测头，在大量没有标签的文本上训练；"
        "然后取下这两个输出头，装上新的输出头，主体和输出头一起用同样少量的带标签文本训练。",
    ),
    "09-patches": (
        "图像是由图像块组成的句子",
        "一张 8 乘 8 像素的图像逐行切成 16 个图像块，每块 2 乘 2 像素。"
        "每个图像块的四个数经过同一个线性映射，变成一个向量。这些向量前面有一个学到的分类词元。"
        "17 个向量各自加上所在位置的学到的向量，然后经过编码器的各层。只有第一个输出，"
        "也就是分类词元的输出，送到分类器，分类器给出十个得分。",
    ),
    "10-formats": (
        "三种格式怎样分配各位",
        "三行二进制位，左端对齐。float32 有 1 位符号、8 位指数和 23 位尾数。bfloat16 有 1 "
        "位符号、8 位指数和 7 位尾数：正是 float32 的左半部分。float16 有 1 位符号、5 位指数和 "
        "10 位尾数。",
    ),
    "10-data-parallel": (
        "两个工作进程的数据并行训练",
        "最上面是一个批次的八行。第 0、2、4、6 行分给左边的工作进程 0，第 1、3、5、7 "
        "行分给右边的工作进程 1。每个工作进程都有整个模型，权重相同，并计算自己那些行的梯度。"
        "两个梯度都送进中间的全规约，它把两者相加，再把和交给两边。"
        "两个工作进程用这个和做同样的更新。",
    ),
    "10-four-cuts": (
        "把模型切给两台设备的四种办法",
        "四幅图，每幅有两台设备；每台设备里画出它的批次的行、四层，以及 Adam 的状态。数据并行："
        "每台设备有一半的行、全部的层和 Adam 的全部状态。优化器并行：其余相同，但每台设备只有 "
        "Adam 的一半状态。张量并行：每台设备有所有的行，以及每一层的一半和这一半的 Adam 状态。"
        "流水线并行：第一台设备有第 1、2 层，第二台有第 3、4 层，各自带着这些层的 Adam 状态。"
        "每幅图下面写着设备之间传送什么：梯度；梯度和新的权重；每层输出的各个部分；第 2 "
        "层的输出，以及传回来的它的梯度。",
    ),
    "11-two-layers": (
        "2019 年的解码器和今天的解码器",
        "两个解码器，从下往上读。左边是 GPT-2：嵌入加上可学习位置；每一层里有 LayerNorm、"
        "多头注意力、求和、LayerNorm、用 GELU 的前馈网络、求和；最后一个 LayerNorm；"
        "到词表的投影。右边是 Llama：只有嵌入；每一层里有 RMSNorm、"
        "分组查询注意力（其中的查询和键经过旋转）、求和、RMSNorm、SwiGLU、求和；最后一个 "
        "RMSNorm；到词表的投影。新的部分都做了标记。",
    ),
    "12-steps": (
        "从基座模型到助手",
        "五个方框排成一行，用箭头连接。基座模型学习连续文本，其中每个下一词元都是标签，"
        "全部权重都改变。指令微调学习带回答的问题，只有回答算作标签；全部权重都改变。LoRA "
        "是同一步的另一种做法，权重冻结：改变的是每个权重矩阵旁边的两个窄矩阵 A 和 B，"
        "之后再合并进去。DPO 学习成对的回答，其中一个受偏好，并且不远离冻结的参考模型。量化："
        "什么都不学，把权重从四个字节舍入到一个或半个字节，外加缩放因子。",
    ),
}

# What stands in the Chinese diagrams as it is: words of three letters and more, and whole labels.
KEPT = {
    # Names and code
    *"Adam BERT BLEU DPO GELU GPT Llama LoRA MindSpore Multi30k PyNative Python Qwen".split(),
    *"BatchNorm LayerNorm RMSNorm SwiGLU Transformer softmax tanh".split(),
    *"BOS CLS MASK PAD SEP True False".split(),
    *"bfloat16 bos dropout eos float16 float32 int8 jit pad".split(),
    "Vaswani et al. 2017",
    "Xiong et al. 2020",
    "dropout, add & norm",  # the lesson explains these words
    # Words of the sample sentences
    *"Anna Ben ball boy boys chased dog eating falls hard its now play playing plays rain".split(),
    *"raining running runs sees the tired two violin wet".split(),
    *"Ball Geige Hund Junge der ein heute hund hunde jagte lacht rennt seinen sie".split(),
    *"spielen spielt zwei".split(),
}
